//! A server that speaks as much S3 as the verbs need, in memory. It signs nothing off; real servers are judged apart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::client::{HttpClient, HttpError, HttpRequest, HttpResponse, HttpService};

/// Keys in a page of a listing: few, so that pages come to their ends.
const PAGE: usize = 3;

#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, (String, BTreeMap<u32, Bytes>)>,
    /// Conditions are not looked at, as some servers do.
    careless: bool,
    /// How each upload in parts was to be encrypted.
    begun: Vec<Sse>,
    /// Answered to everything.
    refusal: Option<(u16, String)>,
    made: u64,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    tag: String,
    time: Option<String>,
    sse: Sse,
}

/// How an object is to be encrypted: the algorithm and the key that were asked for.
pub(super) type Sse = (Option<String>, Option<String>);

type Answer = Result<(u16, Vec<(&'static str, String)>, Bytes), u16>;

impl Fake {
    pub(super) fn client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }

    pub(super) fn content(&self, key: &str) -> Option<Bytes> {
        self.state.lock().unwrap().objects.get(&whole(key)).map(|object| object.bytes.clone())
    }

    pub(super) fn time(&self, key: &str) -> Option<String> {
        self.state.lock().unwrap().objects.get(&whole(key))?.time.clone()
    }

    /// What was asked for of each object there is, and of each upload in parts that was ever begun.
    pub(super) fn sse(&self) -> Vec<Sse> {
        let state = self.state.lock().unwrap();
        state.objects.values().map(|object| object.sse.clone()).chain(state.begun.iter().cloned()).collect()
    }

    pub(super) fn set(&self, key: &str, bytes: &'static [u8]) {
        let object = Object {
            bytes: Bytes::from_static(bytes),
            tag: "\"foreign\"".to_owned(),
            time: None,
            sse: (None, None),
        };
        self.state.lock().unwrap().objects.insert(whole(key), object);
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    pub(super) fn be_careless(&self) {
        self.state.lock().unwrap().careless = true;
    }

    /// Answers as it should again.
    pub(super) fn relent(&self) {
        self.state.lock().unwrap().refusal = None;
    }

    pub(super) fn refuse(&self, status: u16, code: &str, message: &str) {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
        self.state.lock().unwrap().refusal = Some((status, body));
    }
}

/// Where a key below the target's prefix lies; with a slash before it, it lies elsewhere.
fn whole(key: &str) -> String {
    key.strip_prefix('/').map_or_else(|| format!("c1/l1/{key}"), str::to_owned)
}

#[async_trait]
impl HttpService for Fake {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert!(
            header("authorization").is_some_and(|signed| signed.contains("Signature=")),
            "every request is signed"
        );
        let asked = Asked {
            method: request.method().to_string(),
            key: request.uri().path().strip_prefix("/backups").unwrap().trim_start_matches('/').to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            if_match: header("if-match"),
            if_none_match: header("if-none-match").is_some(),
            range: header("range"),
            time: header("x-amz-meta-litestream-timestamp"),
            sse: (
                header("x-amz-server-side-encryption"),
                header("x-amz-server-side-encryption-aws-kms-key-id"),
            ),
        };
        let body = HttpResponse::new(object_store::client::HttpResponseBody::new(request.into_body()));
        let body = body.into_body().bytes().await.unwrap();
        let mut state = self.state.lock().unwrap();
        let (status, headers, body) = match &state.refusal {
            Some((status, body)) => (*status, Vec::new(), body.clone().into()),
            None => state.answer(asked, body).unwrap_or_else(|status| (status, Vec::new(), Bytes::new())),
        };
        let mut answer = HttpResponse::new(body.into());
        *answer.status_mut() = status.try_into().unwrap();
        for (name, value) in headers {
            answer.headers_mut().insert(name, value.try_into().unwrap());
        }
        Ok(answer)
    }
}

struct Asked {
    method: String,
    key: String,
    query: String,
    if_match: Option<String>,
    if_none_match: bool,
    range: Option<String>,
    time: Option<String>,
    sse: Sse,
}

impl Asked {
    fn parameter(&self, name: &str) -> Option<String> {
        let text = self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(text.replace("%2F", "/"))
    }
}

impl State {
    fn answer(&mut self, asked: Asked, body: Bytes) -> Answer {
        let upload = asked.parameter("uploadId");
        match (asked.method.as_str(), upload) {
            ("PUT", Some(id)) => {
                let part: u32 = asked.parameter("partNumber").unwrap().parse().unwrap();
                let upload = self.uploads.get_mut(&id).ok_or(404u16)?;
                upload.1.insert(part, body);
                Ok((200, vec![("etag", format!("\"part{part}\""))], Bytes::new()))
            }
            ("POST", Some(id)) => {
                self.check(&asked)?;
                let (time, parts) = self.uploads.remove(&id).ok_or(404u16)?;
                let bytes: Vec<u8> = parts.into_values().flatten().collect();
                // Said at the beginning, and not again.
                let time = Some(time).filter(|time| !time.is_empty());
                let tag = self.put(asked.key, bytes.into(), time, self.begun.last().cloned().unwrap());
                let xml = format!(
                    "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
                );
                Ok((200, Vec::new(), xml.into()))
            }
            ("DELETE", Some(id)) => {
                self.uploads.remove(&id).map(|_| (204, Vec::new(), Bytes::new())).ok_or(404)
            }
            ("POST", None) => {
                self.made += 1;
                let id = format!("u{}", self.made);
                self.begun.push(asked.sse);
                self.uploads.insert(id.clone(), (asked.time.unwrap_or_default(), BTreeMap::new()));
                let xml = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                Ok((200, Vec::new(), xml.into()))
            }
            ("PUT", None) => {
                self.check(&asked)?;
                let tag = self.put(asked.key, body, asked.time, asked.sse);
                Ok((200, vec![("etag", tag)], Bytes::new()))
            }
            ("DELETE", None) => {
                self.objects.remove(&asked.key);
                Ok((204, Vec::new(), Bytes::new()))
            }
            ("GET", None) if asked.key.is_empty() => Ok((200, Vec::new(), self.list(&asked).into())),
            ("GET", None) => self.get(&asked),
            _ => Err(405),
        }
    }

    fn check(&self, asked: &Asked) -> Result<(), u16> {
        let present = self.objects.get(&asked.key);
        if self.careless {
            return Ok(());
        }
        match (&asked.if_match, present) {
            (Some(_), None) => Err(404),
            (Some(tag), Some(object)) if object.tag != *tag => Err(412),
            _ if asked.if_none_match && present.is_some() => Err(412),
            _ => Ok(()),
        }
    }

    fn put(&mut self, key: String, bytes: Bytes, time: Option<String>, sse: Sse) -> String {
        self.made += 1;
        let tag = format!("\"{}\"", self.made);
        self.objects.insert(key, Object { bytes, tag: tag.clone(), time, sse });
        tag
    }

    fn get(&self, asked: &Asked) -> Answer {
        let object = self.objects.get(&asked.key).ok_or(404u16)?;
        if asked.if_match.as_ref().is_some_and(|tag| *tag != object.tag) {
            return Err(412);
        }
        let length = object.bytes.len();
        let mut headers =
            vec![("etag", object.tag.clone()), ("last-modified", "Thu, 26 Nov 2026 08:00:00 GMT".to_owned())];
        let Some(range) = &asked.range else {
            headers.push(("content-length", length.to_string()));
            return Ok((200, headers, object.bytes.clone()));
        };
        let (begin, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let begin: usize = begin.parse().unwrap();
        let end = end.parse().map_or(length, |end: usize| (end + 1).min(length));
        if begin >= length {
            return Err(416);
        }
        headers.push(("content-range", format!("bytes {begin}-{}/{length}", end - 1)));
        headers.push(("content-length", (end - begin).to_string()));
        Ok((206, headers, object.bytes.slice(begin..end)))
    }

    fn list(&self, asked: &Asked) -> String {
        let prefix = asked.parameter("prefix").unwrap_or_default();
        let after =
            asked.parameter("continuation-token").or(asked.parameter("start-after")).unwrap_or_default();
        let found: Vec<_> =
            self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after).collect();
        let entry = |(key, object): &(&String, &Object)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-26T08:00:00.000Z</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                object.tag,
                object.bytes.len()
            )
        };
        let entries: String = found.iter().take(PAGE).map(entry).collect();
        let more = match found.get(PAGE - 1) {
            Some((last, _)) if found.len() > PAGE => {
                format!("<NextContinuationToken>{last}</NextContinuationToken>")
            }
            _ => String::new(),
        };
        format!("<ListBucketResult>{entries}{more}</ListBucketResult>")
    }
}
