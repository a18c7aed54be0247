//! The types of attributes in distinguished names, by their short names and object identifiers.

use der::asn1::ObjectIdentifier;

/// The short names of attribute types (RFC 4514, section 3, and OpenSSL's).
pub(super) const SHORT_NAMES: [(&str, &str); 16] = [
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("BUSINESSCATEGORY", "2.5.4.15"),
    ("ORGANIZATIONIDENTIFIER", "2.5.4.97"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

/// C: countryName.
pub const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
/// O: organizationName.
pub const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// OU: organizationalUnitName.
pub const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
/// CN: commonName.
pub const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

pub(super) const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
/// jurisdictionCountryName (CA/Browser Forum, EV guidelines).
pub(super) const JURISDICTION_COUNTRY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.60.2.1.3");
pub(super) const DOMAIN_COMPONENT: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25");
pub(super) const EMAIL_ADDRESS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// The type of an attribute, by its short name in any case, or by its object identifier. `None` if there is no such name.
pub fn attribute_type(name: &str) -> Option<ObjectIdentifier> {
    let short = SHORT_NAMES
        .iter()
        .find(|(short, _)| short.eq_ignore_ascii_case(name));
    let oid = short.map_or(name, |(_, oid)| oid);
    ObjectIdentifier::new(oid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_a_short_name_in_any_case_or_an_object_identifier() {
        assert_eq!(attribute_type("o"), Some(ORGANIZATION));
        assert_eq!(attribute_type("serialNumber"), Some(SERIAL_NUMBER));
        assert_eq!(attribute_type("2.5.4.3"), Some(COMMON_NAME));
        assert_eq!(attribute_type("GN"), None);
    }
}
