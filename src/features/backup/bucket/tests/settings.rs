//! What an operator may write, and what is said when it is wrong.

use super::{
    super::{Bucket, Credentials, Settings},
    SECRET, credentials, s3_settings,
};

fn wrong(more: &str, credentials: Option<&Credentials>) -> Vec<String> {
    let text = format!(r#"{{"kind":"s3","bucket":"backups"{more}}}"#);
    let settings: Settings = serde_json::from_str(&text).unwrap();
    let errors = settings.validate(credentials).err().unwrap_or_default();
    errors.into_iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect()
}

#[test]
fn the_least_settings_of_each_kind_are_enough() {
    assert!(wrong("", Some(&credentials())).is_empty());
    let folder: Settings = serde_json::from_str(r#"{"kind":"folder","path":"/mnt/backup"}"#).unwrap();
    assert_eq!(folder.validate(None), Ok(()));
    assert_eq!(folder.place(), "/mnt/backup");
    assert_eq!(s3_settings("").place(), "s3://backups/c1/l1");
}

#[test]
fn settings_come_back_as_they_were_written() {
    let settings = s3_settings(r#","sse":{"kind":"kms","key":"arn:x"},"ca_file":"/etc/ca.pem""#);
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
}

#[test]
fn a_trial_is_over_soon_and_is_never_more_patient_than_what_was_asked() {
    for (seconds, wanted) in [(120, 10), (3, 3)] {
        let pace = format!(r#""pace":{{"request_seconds":{seconds},"give_up_seconds":{seconds}}}"#);
        let text = format!(r#"{{"kind":"s3","bucket":"backups",{pace}}}"#);
        let hurried = serde_json::from_str::<Settings>(&text).unwrap().hurried();
        let pace = hurried.pace();
        assert_eq!((pace.request_seconds, pace.give_up_seconds), (wanted, wanted));
    }
}

#[test]
fn what_is_not_known_is_refused() {
    for text in [
        r#"{"kind":"s3","bucket":"backups","buket":"x"}"#,
        r#"{"kind":"s3","bucket":"backups","access_key":"x"}"#,
        r#"{"kind":"s3","bucket":"backups","pace":{"speed":1}}"#,
        r#"{"kind":"s3","bucket":"backups","sse":{"kind":"kms"}}"#,
        r#"{"kind":"s3","bucket":"backups","sse":{"kind":"s3","key":"arn:x"}}"#,
        r#"{"kind":"s3","bucket":"backups","sse":{"kind":"aes256"}}"#,
        r#"{"kind":"s3","bucket":"backups","sse":"kms"}"#,
        r#"{"kind":"folder","path":"/x","bucket":"b"}"#,
        r#"{"kind":"tape","path":"/x"}"#,
        r#"{"bucket":"backups"}"#,
    ] {
        assert!(serde_json::from_str::<Settings>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Credentials>(r#"{"access_key":"a","secret_key":"b","key":"c"}"#).is_err());
}

#[test]
fn each_wrong_field_is_named_with_its_cure() {
    let own = credentials();
    for (more, found) in [
        (r#","endpoint":"http://minio:9000""#, "/endpoint plain HTTP shows"),
        (r#","endpoint":"https://user:pw@minio""#, "/endpoint an endpoint is https://host"),
        (r#","endpoint":"minio:9000""#, "/endpoint an endpoint is https://host"),
        (r#","endpoint":"https://minio/bucket""#, "/endpoint an endpoint is https://host"),
        (r#","endpoint":"http://m","allow_http":true,"ca_file":"/x""#, "/ca_file certificates are of no use"),
        (r#","ca_file":"ca.pem""#, "/ca_file the path of a certificate file is absolute"),
        (r#","prefix":"/a""#, "/prefix a prefix is parts"),
        (r#","prefix":"a/../b""#, "/prefix a prefix is parts"),
        (r#","region":"""#, "/region a region is like us-east-1"),
        (r#","sse":{"kind":"kms","key":""}"#, "/sse/key give the id"),
        (r#","sse":{"kind":"kms","key":"arn:x y"}"#, "/sse/key give the id"),
        (r#","sse":{"kind":"kms","key":"arn:x\n"}"#, "/sse/key give the id"),
        (r#","sse":{"kind":"customer_key"}"#, "/credentials/customer_key sse customer_key needs it"),
        (r#","pace":{"bytes_per_second":1}"#, "/pace/bytes_per_second give at least 262144"),
        (r#","pace":{"request_seconds":0}"#, "/pace/request_seconds give 1 to 3600"),
    ] {
        let errors = wrong(more, Some(&own));
        assert!(errors.len() == 1 && errors[0].starts_with(found), "{more}: {errors:?}");
    }
    assert_eq!(wrong("", None), ["/credentials give access_key and secret_key of the bucket"]);
    let spaced =
        serde_json::from_str(r#"{"access_key":" a","secret_key":"","customer_key":"AAAA"}"#).unwrap();
    assert_eq!(wrong("", Some(&spaced)).len(), 3);
    let folder: Settings = serde_json::from_str(r#"{"kind":"folder","path":"backup"}"#).unwrap();
    assert_eq!(folder.validate(Some(&own)).unwrap_err().len(), 2);
}

#[test]
fn credentials_are_not_printed_and_a_bucket_without_them_is_not_opened() {
    let printed = format!("{:?} {:?}", credentials(), s3_settings(""));
    assert!(!printed.contains(SECRET) && !printed.contains("AKIAIOSFODNN7EXAMPLE"), "{printed}");
    let error = Bucket::open(&s3_settings(""), None).err().unwrap();
    assert_eq!(error.to_string(), "open s3://backups/c1/l1: a bucket needs credentials");
}

#[test]
fn a_certificate_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let settings = s3_settings(&format!(r#","ca_file":"{}""#, path.display()));
    let error = || Bucket::open(&settings, Some(&credentials())).err().unwrap().to_string();
    assert!(error().contains("No such file"), "{}", error());
    std::fs::write(&path, "nothing").unwrap();
    assert!(error().contains("no PEM certificate"), "{}", error());
}
