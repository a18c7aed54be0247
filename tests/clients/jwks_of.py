"""A JWK Set of certificates, as a Trust Framework's keystore publishes it: made by Python's cryptography, not by the product.

Arguments: PEM files, of each of which the first certificate counts. Standard output: the set.
"""

import base64
import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def jwk(path):
    with open(path, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    numbers = certificate.public_key().public_numbers()
    thumbprint = base64url(certificate.fingerprint(hashes.SHA256()))
    der = certificate.public_bytes(serialization.Encoding.DER)
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "PS256",
        "kid": thumbprint,
        "n": number(numbers.n),
        "e": number(numbers.e),
        "x5c": [base64.b64encode(der).decode()],
        "x5t#S256": thumbprint,
    }


print(json.dumps({"keys": [jwk(path) for path in sys.argv[1:]]}))
