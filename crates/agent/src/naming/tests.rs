use super::*;

/// The peers of the README of wgsd.
const GOLDEN: [(&str, &str); 3] = [
    ("xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=", "yutrled535igkl7bdlerl6m4vjxsxm3uqqpl4nmsn27mt56ad4ha===="),
    ("syKB97XhGnvC+kynh2KqQJPXoOoOpx/HmpMRTc+r4js=", "wmrid55v4enhxqx2jstyoyvkicj5pihkb2tr7r42smiu3t5l4i5q===="),
    ("JeZlz14G8tg1Bqh6apteFCwVhNhpexJ19FDPfuxQtUY=", "extglt26a3znqnigvb5gvg26cqwblbgynf5re5pukdhx53cqwvda===="),
];

#[test]
fn labels_are_those_of_wgsd_and_are_read_back_padded_bare_and_in_upper_case() {
    for (base64, expected) in GOLDEN {
        let key: Key = base64.parse().expect("a key");
        assert_eq!(label(&key), expected);
        for text in [expected.to_owned(), short_label(&key), expected.to_uppercase()] {
            assert_eq!(parse_label(text.as_bytes()), Some(key), "{text}");
        }
        assert_eq!(parse_watch_label(watch_label(&key).as_bytes()), Some(key));
    }
}

#[test]
fn what_is_no_label_names_no_key() {
    let good = GOLDEN[0].1;
    let spoiled = good.replace('y', "1");
    for text in ["", "x", &good[..55], &good[..51], &spoiled, "_wireguard"] {
        assert_eq!(parse_label(text.as_bytes()), None, "{text}");
    }
}
