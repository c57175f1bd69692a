use proptest::prelude::*;

use super::*;
use crate::vault::testing::{NOW, entry, place};

fn ring() -> KeyRing {
    KeyRing::of(&["golden"])
}

/// An entry with every field in use, at fixed times.
fn full() -> Entry {
    let mut full = entry(7, 0);
    full.body = Bytes::from_static(b"{\"balance\":\"12.34\"}");
    full.meta.variance = Some([5; 16]);
    full.meta.epoch = full.meta.created - Duration::from_secs(9);
    full.meta.stale_if_error = 60;
    full.meta.exact = Some((b"internal".to_vec(), b"plain".to_vec()));
    full
}

fn same(one: &Entry, other: &Entry) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

const GOLDEN_INSIDE: &str = "01010000000773756d6d61727918fae27693b4000018fae27693b4000018fae5bcc46ca00018fae2747b42e600000000000000003c010505050505050505050505050505050500000008696e7465726e616c00000005706c61696e00c800010000000c436f6e74656e742d54797065000000106170706c69636174696f6e2f6a736f6e000000137b2262616c616e6365223a2231322e3334227d";
const GOLDEN_RECORD_2: &str = "022dc5bd5115f25e7c000001a318933e80000001a3185c5000761b7ad8ad439b2855fcbb611331c646e4466ed68afe58f04e6000f2000000aa185e8bc6801b8380a737d7ffec1b109741cb337cc2033843e1b1693166947efbe1f67842d10369a7e1f4923384b819b76f360c7d2dc96d91d22dc4e6fdb0a0a4dcd349f39fc2d6de1ed8597158bb5c3a43ee9d6c148929eecf1e0a1393d5372b040268094f727bf23df6ed2189a24754d632ab33c53de30e122fd2153b029e95103092c860c14f0eb4b0bf1811090aae7faf41efc872134afc06e23b351df14f6164fc18f561b958e822";
const GOLDEN_RECORD_1: &str = "012dc5bd5115f25e7c000001a318933e8079aeacb052589ab3cba59fdb000000aa978acbb3f26b46d97b28e02ae071289c22ef3db03cc3442b851602b2c76999f822038e3b45e549a0bae91f6d808bbecab899b2f9b6b82156c201ea4394bba660ce9a3a016a12a588b49d80ea645e712cf82d60de1243f3d40b765f98df2010b69ea521a137f7b36670277fbbae1ac2846b6d4bd18588f86c560801c47af455c2702f78519e74c182d86b1e6089927f0b9c375849c8c9e241f61327585f73f886e75a8060d9115f19c995";

#[test]
fn the_layout_of_the_inside_never_changes() {
    assert_eq!(hex::encode(write(&full()).unwrap()), GOLDEN_INSIDE);
}

#[test]
fn a_record_of_an_earlier_release_still_opens() {
    let entry = open(&ring(), place(7), &hex::decode(GOLDEN_RECORD_2).unwrap(), 0).unwrap();
    assert!(same(&entry, &full()), "{entry:?}");
    let entry = open(&ring(), place(7), &hex::decode(GOLDEN_RECORD_1).unwrap(), 0).unwrap();
    let mut unknown = full();
    unknown.asked = UnixMillis(0);
    assert!(same(&entry, &unknown), "{entry:?}");
}

#[test]
fn what_is_sealed_comes_back_and_shows_nothing_meanwhile() {
    let record = seal(&ring(), &full()).unwrap();
    assert!(!record.windows(7).any(|window| window == b"balance" || window == b"summary"));
    assert!(same(&open(&ring(), place(7), &record, 0).unwrap(), &full()));
    let label = label(&record).unwrap();
    assert_eq!((label.expires, label.asked), (full().expires, full().asked));
    assert_eq!(label.route, Some(route_tag(&full().name.route)));
}

#[test]
fn a_record_does_not_open_at_another_account_s_place_or_with_another_label() {
    let record = seal(&ring(), &full()).unwrap();
    let broken = RecordError::Sealed(SealError::Broken);
    assert_eq!(open(&ring(), place(8), &record, 0).unwrap_err(), broken);
    for at in [6, 8 + 6, 16 + 6] {
        let mut other = record.clone();
        other[1 + KEY_ID_BYTES + at] ^= 1;
        assert_ne!(label(&other).unwrap(), label(&record).unwrap());
        assert_eq!(open(&ring(), place(7), &other, 0).unwrap_err(), broken, "byte {at}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let record = seal(&ring(), &full()).unwrap();
    for at in 0..record.len() {
        let mut flipped = record.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(open(&ring(), place(7), &flipped, 0).is_err(), "byte {at}");
        assert!(open(&ring(), place(7), &record[..at], 0).is_err(), "cut at {at}");
    }
}

#[test]
fn another_version_is_named() {
    let mut record = seal(&ring(), &full()).unwrap();
    record[0] = 3;
    assert_eq!(open(&ring(), place(7), &record, 0).unwrap_err(), RecordError::Version(3));
}

#[test]
fn an_unknown_key_is_told_from_damage() {
    let record = seal(&ring(), &full()).unwrap();
    let other = KeyRing::of(&["another"]);
    assert_eq!(
        open(&other, place(7), &record, 0).unwrap_err(),
        RecordError::Sealed(SealError::UnknownKey)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&ring(), place(7), &bytes, 0);
        let label_of = label(&bytes);
        let known = Label { expires: NOW, asked: NOW, route: None };
        let _ = read(place(7), &label_of.unwrap_or(known), &Bytes::from(bytes), 0);
    }

    #[test]
    fn damaged_insides_are_an_entry_or_nothing(
        at in 0usize..400, value in any::<u8>(), cut in 0usize..400,
    ) {
        let mut inside = write(&full()).unwrap();
        let length = inside.len();
        inside[at % length] = value;
        inside.truncate(cut.max(1));
        let label = Label { expires: NOW, asked: NOW, route: None };
        let _ = read(place(7), &label, &Bytes::from(inside), 0);
    }

    #[test]
    fn any_body_and_header_come_back(
        body in proptest::collection::vec(any::<u8>(), 0..2000),
        fields in proptest::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,20}", "[ -~]{0,30}"), 0..20),
    ) {
        let mut wanted = full();
        wanted.body = Bytes::from(body);
        for (name, value) in fields {
            wanted.meta.header.append_header(name, value).unwrap();
        }
        let record = seal(&ring(), &wanted).unwrap();
        let found = open(&ring(), place(7), &record, 0).unwrap();
        prop_assert_eq!(&found.body, &wanted.body);
        prop_assert_eq!(&found.meta.header.headers, &wanted.meta.header.headers);
    }
}
