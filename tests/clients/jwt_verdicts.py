"""What a hub in Python says of tokens of JWT Auth: PyJWT checks the signature, this file what the scheme adds.

Standard input: {"jwks": .., "issuer": .., "subject": .., "audience": .., "tokens": [{"token": .., "at": SECONDS}]}.
Standard output: a list with "ok" or the reason for each token.
"""

import json
import sys
import uuid

import jwt

LEEWAY = 10


def verdict(asked, token, at):
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        return f"form: {error}"
    if header != {"alg": "PS256", "typ": "JOSE", "cty": "json", "kid": header.get("kid")}:
        return f"header: {sorted(header)} {header.get('alg')} {header.get('typ')} {header.get('cty')}"
    keys = [key for key in asked["jwks"]["keys"] if key.get("kid") == header["kid"]]
    if len(keys) != 1:
        return f"kid: {len(keys)} keys"
    try:
        # The times are judged below, at the time of arrival.
        claims = jwt.decode(
            token,
            jwt.PyJWK(keys[0], algorithm="PS256").key,
            algorithms=["PS256"],
            audience=asked["audience"],
            issuer=asked["issuer"],
            options={
                "require": ["iss", "sub", "aud", "iat", "exp", "jti"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.PyJWTError as error:
        return f"{type(error).__name__}: {error}"
    if claims["sub"] != asked["subject"]:
        return "sub"
    if not isinstance(claims["aud"], str) or set(claims) - {"iss", "sub", "aud", "iat", "exp", "jti", "nbf"}:
        return "claims"
    if not 10 <= claims["exp"] - claims["iat"] <= 30:
        return "lifetime"
    if claims["exp"] + LEEWAY < at:
        return "expired"
    if claims["iat"] - LEEWAY > at or claims.get("nbf", at) - LEEWAY > at:
        return "not yet"
    try:
        if str(uuid.UUID(claims["jti"])) != claims["jti"] or uuid.UUID(claims["jti"]).version != 4:
            return "jti"
    except ValueError:
        return "jti"
    return "ok"


def main():
    asked = json.load(sys.stdin)
    json.dump([verdict(asked, one["token"], one["at"]) for one in asked["tokens"]], sys.stdout)


main()
