//! A bucket of a server, whose connection breaks where it hurts.

use std::time::Duration;

use bytes::Bytes;

use super::{
    super::{Bucket, Cause, Created, Replaced, Version},
    Fault, SECRET, credentials, in_memory, s3_settings,
};
use crate::kernel::Millis;

const OURS: Bytes = Bytes::from_static(b"ours");

async fn version(bucket: &Bucket, key: &str) -> Version {
    bucket.get(key).await.unwrap().unwrap().version
}

#[tokio::test]
async fn an_object_is_created_once_with_the_time_that_litestream_reads() {
    let (bucket, fake, _) = in_memory(&[]);
    let at = Some(Millis(1_700_000_000_123));
    assert_eq!(bucket.create("0000/a.ltx", OURS, at).await.unwrap(), Created::Created);
    assert_eq!(bucket.create("0000/a.ltx", "theirs".into(), at).await.unwrap(), Created::AlreadyThere);
    assert_eq!(fake.content("0000/a.ltx").unwrap(), OURS);
    assert_eq!(fake.time("0000/a.ltx").unwrap(), "2023-11-14T22:13:20.123Z");
}

#[tokio::test]
async fn the_same_bytes_from_another_are_not_ours_when_nothing_was_in_doubt() {
    let (bucket, fake, _) = in_memory(&[]);
    fake.set("a", b"ours");
    assert_eq!(bucket.create("a", OURS, None).await.unwrap(), Created::AlreadyThere);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_known_to_have_succeeded() {
    for fault in [Fault::LostReply, Fault::Torn, Fault::Status(503), Fault::Status(500), Fault::NoConnection]
    {
        let (bucket, fake, faults) = in_memory(&[("PUT", fault)]);
        assert_eq!(bucket.create("a", OURS, None).await.unwrap(), Created::Created, "{fault:?}");
        assert_eq!(fake.content("a").unwrap(), OURS);
        assert!(faults.are_spent());
    }
}

#[tokio::test]
async fn another_object_under_the_key_is_not_taken_for_ours_however_much_was_in_doubt() {
    for fault in [Fault::LostReply, Fault::Torn, Fault::Status(503)] {
        let (bucket, fake, _) = in_memory(&[("PUT", fault)]);
        fake.set("a", b"theirs");
        assert_eq!(bucket.create("a", OURS, None).await.unwrap(), Created::AlreadyThere, "{fault:?}");
        assert_eq!(fake.content("a").unwrap(), "theirs");
    }
}

#[tokio::test]
async fn an_answer_that_is_late_beyond_its_time_is_asked_for_again() {
    let (bucket, fake, faults) = in_memory(&[("PUT", Fault::Late(Duration::from_hours(1)))]);
    assert_eq!(bucket.create("a", OURS, None).await.unwrap(), Created::Created);
    assert_eq!((fake.content("a").unwrap(), faults.seen("PUT")), (OURS, 2));
}

#[tokio::test]
async fn a_rewrite_needs_the_version_that_it_replaces() {
    let (bucket, fake, faults) = in_memory(&[]);
    bucket.create("head", "1".into(), None).await.unwrap();
    let old = version(&bucket, "head").await;
    let Replaced::Replaced(new) = bucket.replace("head", "2".into(), &old).await.unwrap() else { panic!() };
    assert_eq!(version(&bucket, "head").await, new);
    assert_eq!(bucket.replace("head", "3".into(), &old).await.unwrap(), Replaced::Stale);
    assert_eq!(bucket.replace("none", "3".into(), &old).await.unwrap(), Replaced::Stale);
    assert_eq!(fake.content("head").unwrap(), "2");
    // Its answer lost, it finds that it happened; another's does not count.
    faults.push("PUT", Fault::LostReply);
    let Replaced::Replaced(third) = bucket.replace("head", "3".into(), &new).await.unwrap() else { panic!() };
    assert_eq!(version(&bucket, "head").await, third);
    fake.set("head", b"theirs");
    faults.push("PUT", Fault::Torn);
    assert_eq!(bucket.replace("head", "4".into(), &third).await.unwrap(), Replaced::Stale);
}

#[tokio::test]
async fn objects_are_read_whole_and_in_parts_and_what_is_not_there_is_none() {
    let (bucket, ..) = in_memory(&[("GET", Fault::Cut(2)), ("GET", Fault::Status(503))]);
    bucket.create("a", "0123456789".into(), None).await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap().unwrap().bytes, "0123456789");
    assert_eq!(bucket.get_range("a", 3..6).await.unwrap().unwrap(), "345");
    assert_eq!(bucket.get_range("a", 8..90).await.unwrap().unwrap(), "89");
    assert_eq!(bucket.get_range("a", 10..12).await.unwrap().unwrap(), "");
    assert_eq!(bucket.get_range("a", 8..8).await.unwrap().unwrap(), "");
    assert_eq!(bucket.get("b").await.unwrap(), None);
    assert_eq!(bucket.get_range("b", 0..1).await.unwrap(), None);
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke() {
    let cuts = [("GET", Fault::Cut(70_000)), ("GET", Fault::Status(500)), ("GET", Fault::Cut(1))];
    let (bucket, _, faults) = in_memory(&cuts);
    let bytes: Bytes = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    bucket.create("a", bytes.clone(), None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    assert_eq!(bucket.get_to_file("a", &path).await.unwrap(), Some(200_000));
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert!(faults.are_spent());
    assert_eq!(faults.seen("GET"), 4);
    assert_eq!(bucket.get_to_file("b", &path).await.unwrap(), None);
}

/// A file of three parts.
fn large(folder: &std::path::Path) -> (std::path::PathBuf, Bytes) {
    let bytes: Bytes = (0..20u32 << 20).map(|n| (n % 251) as u8).collect();
    let path = folder.join("large");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = large(folder.path());
    let faults =
        [("partNumber=2", Fault::Torn), ("partNumber=2", Fault::LostReply), ("uploads", Fault::Status(503))];
    let (bucket, fake, faults) = in_memory(&faults);
    let at = Some(Millis(1_700_000_000_000));
    assert_eq!(bucket.put_file("0009/s.ltx", &path, at).await.unwrap(), Created::Created);
    assert!(fake.content("0009/s.ltx").unwrap() == bytes);
    assert_eq!(fake.time("0009/s.ltx").unwrap(), "2023-11-14T22:13:20.000Z");
    assert!(faults.are_spent());
    assert_eq!(faults.seen("PUT"), 5);
    // A second one does not replace it, and leaves nothing behind.
    fake.set("0009/s.ltx", b"theirs");
    assert_eq!(bucket.put_file("0009/s.ltx", &path, at).await.unwrap(), Created::AlreadyThere);
    assert_eq!((fake.content("0009/s.ltx").unwrap(), fake.open_uploads()), ("theirs".into(), 0));
}

#[tokio::test]
async fn an_upload_whose_completion_was_lost_is_known_to_have_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = large(folder.path());
    let (bucket, _, faults) = in_memory(&[("POST /backups/c1/l1/s?uploadId", Fault::LostReply)]);
    assert_eq!(bucket.put_file("s", &path, None).await.unwrap(), Created::Created);
    assert!(faults.are_spent());
    // The same when another's object came first: it is seen to be another's.
    let (bucket, fake, _) = in_memory(&[("POST /backups/c1/l1/s?uploadId", Fault::Torn)]);
    fake.set("s", b"theirs");
    assert_eq!(bucket.put_file("s", &path, None).await.unwrap(), Created::AlreadyThere);
}

#[tokio::test]
async fn a_listing_goes_through_its_pages_in_order() {
    let (bucket, fake, faults) = in_memory(&[("list-type", Fault::Status(503))]);
    for key in ["0000/a", "0000/b", "0000/c", "0000/d", "0001/e", "0000x"] {
        bucket.create(key, OURS, None).await.unwrap();
    }
    fake.set("/c2/0000/z", b"of another cluster");
    let keys = async |prefix: &str, after: Option<&str>| -> Vec<String> {
        bucket.list(prefix, after).all().await.unwrap().into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(keys("0000/", None).await, ["0000/a", "0000/b", "0000/c", "0000/d"]);
    assert_eq!(keys("0000/", Some("0000/b")).await, ["0000/c", "0000/d"]);
    assert_eq!(keys("0000", None).await.len(), 5);
    assert_eq!(keys("", None).await.len(), 6);
    assert!(keys("none/", None).await.is_empty());
    assert!(faults.are_spent());
    let first = &bucket.list("0000/", None).next_page().await.unwrap().unwrap()[0];
    assert_eq!((first.bytes, first.at), (4, Millis(1_795_680_000_000)));
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_what_was_not_there_is_no_error() {
    let (bucket, fake, _) = in_memory(&[("DELETE", Fault::LostReply), ("DELETE", Fault::Status(500))]);
    bucket.create("a", OURS, None).await.unwrap();
    bucket.create("b", OURS, None).await.unwrap();
    bucket.delete(&["a".to_owned(), "never".to_owned()]).await.unwrap();
    assert_eq!((fake.content("a"), fake.content("b")), (None, Some(OURS)));
}

#[tokio::test]
async fn what_is_no_key_is_refused_before_anything_is_sent() {
    let (bucket, _, faults) = in_memory(&[]);
    for key in ["", "/a", "a/", "a//b", "../a", "a/.lock", "a b", "a?b", "a\nb"] {
        assert!(bucket.create(key, OURS, None).await.is_err(), "{key}");
        assert!(bucket.delete(&["ok".to_owned(), key.to_owned()]).await.is_err(), "{key}");
    }
    assert_eq!(faults.seen(""), 0);
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_up_at_the_deadline() {
    let settings = s3_settings("").clone();
    let super::Settings::S3(mut s3) = settings else { panic!() };
    s3.pace.give_up_seconds = 1;
    let fake = super::Fake::default();
    fake.refuse(503, "SlowDown", "Please reduce your request rate.");
    let bucket = Bucket::over(&super::Settings::S3(s3), Some(&credentials()), Some(fake.client())).unwrap();
    let failed = bucket.create("a", OURS, None).await.unwrap_err();
    assert_eq!((failed.cause, failed.retry, failed.what), (Cause::Busy, true, "create"));
    assert_eq!(
        failed.to_string(),
        "create s3://backups/c1/l1/a: the server answered 503: SlowDown: Please reduce your request rate."
    );
}

#[tokio::test]
async fn no_error_holds_a_credential_although_the_server_sends_it_back() {
    let (bucket, fake, _) = in_memory(&[]);
    fake.refuse(403, "SignatureDoesNotMatch", &format!("AKIAIOSFODNN7EXAMPLE signed with {SECRET} in vain"));
    for failed in [
        bucket.create("a", OURS, None).await.unwrap_err(),
        bucket.get("a").await.unwrap_err(),
        bucket.list("", None).all().await.unwrap_err(),
        bucket.delete(&["a".to_owned()]).await.unwrap_err(),
        bucket.probe().await.unwrap_err(),
    ] {
        let printed = format!("{failed} {failed:?}");
        assert!(printed.contains("SignatureDoesNotMatch: … signed with … in vain"), "{printed}");
        assert!(!printed.contains(SECRET) && !printed.contains("AKIA"), "{printed}");
        assert_eq!((failed.cause, failed.retry), (Cause::Credentials, false));
    }
}

#[tokio::test]
async fn a_probe_says_precisely_what_is_wrong() {
    let (bucket, ..) = in_memory(&[]);
    bucket.probe().await.unwrap();
    assert!(bucket.list("", None).all().await.unwrap().is_empty(), "nothing is left behind");
    for (status, code, cause, cure) in [
        (403, "InvalidAccessKeyId", Cause::Credentials, "check access_key"),
        (400, "ExpiredToken", Cause::Credentials, "check access_key"),
        (404, "NoSuchBucket", Cause::NoSuchBucket, "create it, or correct its name"),
        (403, "RequestTimeTooSkewed", Cause::ClockSkew, "set this machine's clock"),
        (403, "AccessDenied", Cause::Denied, "allow reading, writing, listing and deleting"),
        (301, "PermanentRedirect", Cause::Misconfigured, "check region, endpoint and path_style"),
        (501, "NotImplemented", Cause::Unconditional, "take a server with conditional writes"),
        (507, "", Cause::Full, "make room"),
    ] {
        let (bucket, fake, _) = in_memory(&[]);
        fake.refuse(status, code, "m");
        let failed = bucket.probe().await.unwrap_err();
        assert_eq!(failed.cause, cause, "{failed}");
        assert!(failed.to_string().contains(code) && failed.to_string().contains(cure), "{failed}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_with_its_cure_and_what_was_to_be_put_is_put_when_it_is_right() {
    let (bucket, fake, faults) = in_memory(&[]);
    bucket.create("head", "1".into(), None).await.unwrap();
    let head = version(&bucket, "head").await;
    fake.refuse(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    );
    let before = faults.seen("");
    for failed in [
        bucket.create("a", OURS, None).await.unwrap_err(),
        bucket.replace("head", "2".into(), &head).await.unwrap_err(),
        bucket.get("a").await.unwrap_err(),
        bucket.list("", None).all().await.unwrap_err(),
        bucket.delete(&["head".to_owned()]).await.unwrap_err(),
    ] {
        assert_eq!((failed.cause, failed.retry), (Cause::ClockSkew, false), "{failed}");
        let told = failed.told();
        assert!(told.contains("RequestTimeTooSkewed") && told.contains("set this machine's clock"), "{told}");
    }
    assert_eq!(faults.seen("") - before, 5, "the same clock would be as wrong a moment later");
    fake.relent();
    assert_eq!(bucket.create("a", OURS, None).await.unwrap(), Created::Created);
    assert!(matches!(bucket.replace("head", "2".into(), &head).await.unwrap(), Replaced::Replaced(_)));
    assert_eq!((fake.content("a").unwrap(), fake.content("head").unwrap()), (OURS, "2".into()));
}

#[tokio::test]
async fn what_goes_by_itself_and_what_the_server_says_best_is_told_as_it_is() {
    for (status, code) in [(503, "SlowDown"), (400, "EntityTooLarge")] {
        let super::Settings::S3(mut s3) = s3_settings("") else { panic!() };
        s3.pace.give_up_seconds = 1;
        let fake = super::Fake::default();
        fake.refuse(status, code, "m");
        let bucket =
            Bucket::over(&super::Settings::S3(s3), Some(&credentials()), Some(fake.client())).unwrap();
        let failed = bucket.create("a", OURS, None).await.unwrap_err();
        assert_eq!(failed.told(), failed.to_string());
    }
}

#[tokio::test]
async fn every_object_is_asked_to_be_encrypted_as_the_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = large(folder.path());
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/abc";
    for (sse, algorithm, key) in [
        (String::new(), None, None),
        (r#","sse":{"kind":"s3"}"#.to_owned(), Some("AES256"), None),
        (format!(r#","sse":{{"kind":"kms","key":"{arn}"}}"#), Some("aws:kms"), Some(arn)),
    ] {
        let fake = super::Fake::default();
        let settings = s3_settings(&sse);
        settings.validate(Some(&credentials())).unwrap();
        let bucket = Bucket::over(&settings, Some(&credentials()), Some(fake.client())).unwrap();
        bucket.create("a", OURS, Some(Millis(1))).await.unwrap();
        bucket.create("head", "1".into(), None).await.unwrap();
        let head = version(&bucket, "head").await;
        assert!(matches!(bucket.replace("head", "2".into(), &head).await.unwrap(), Replaced::Replaced(_)));
        // In one request, and in parts.
        std::fs::write(folder.path().join("small"), b"small").unwrap();
        bucket.put_file("small", &folder.path().join("small"), None).await.unwrap();
        bucket.put_file("large", &path, None).await.unwrap();
        let wanted = (algorithm.map(str::to_owned), key.map(str::to_owned));
        assert_eq!(fake.sse(), vec![wanted; 5], "{sse}");
    }
}

#[tokio::test]
async fn a_server_without_conditional_writes_is_found_out() {
    let (bucket, fake, _) = in_memory(&[]);
    fake.be_careless();
    let failed = bucket.probe().await.unwrap_err();
    assert_eq!(failed.cause, Cause::Unconditional);
    assert!(failed.to_string().contains("it overwrote an object"), "{failed}");
}

#[tokio::test]
async fn a_server_that_gives_back_other_bytes_is_found_out() {
    let (bucket, ..) = in_memory(&[("GET /backups/c1/l1/probe", Fault::Flip(1))]);
    let failed = bucket.probe().await.unwrap_err();
    assert_eq!(failed.cause, Cause::Damaged);
}

#[tokio::test]
async fn no_more_bytes_pass_than_the_limit_lets() {
    let (_, fake, _) = in_memory(&[]);
    let settings = s3_settings("");
    let super::Settings::S3(mut s3) = settings else { panic!() };
    s3.pace.bytes_per_second = Some(1 << 20);
    let bucket = Bucket::over(&super::Settings::S3(s3), Some(&credentials()), Some(fake.client())).unwrap();
    let begin = tokio::time::Instant::now();
    // The first second's worth passes at once, the second has to be waited for.
    for key in ["a", "b"] {
        bucket.create(key, vec![0; 1 << 20].into(), None).await.unwrap();
    }
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
}
