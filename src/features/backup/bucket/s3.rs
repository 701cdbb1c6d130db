//! A bucket of a server that speaks S3: one attempt of each verb.

use std::{error::Error, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, GetRange, MultipartId, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, RetryConfig, UpdateVersion,
    aws::{AmazonS3, AmazonS3Builder},
    client::HttpClient,
    list::{PaginatedListOptions, PaginatedListStore},
    multipart::{MultipartStore, PartId},
    path::Path,
};

use super::{
    Cause, Condition, Credentials, Entry, Opened, S3Settings, Sse, Version, fault::Trouble, transport::Judge,
};
use crate::kernel::{Millis, Secret};

/// Where litestream looks for the time of a file (0.5.x, `s3/replica_client.go`); else it takes the time of upload.
const TIMESTAMP: &str = "litestream-timestamp";
const KEYS_AT_ONCE: usize = 1000;

pub(super) struct S3 {
    store: AmazonS3,
    prefix: String,
    /// What no text of ours may hold, although a server may send it back.
    secrets: Arc<Vec<Secret<String>>>,
}

impl S3 {
    pub(super) fn new(
        settings: &S3Settings,
        credentials: &Credentials,
        wire: HttpClient,
    ) -> Result<Self, Trouble> {
        let Credentials { access_key, secret_key, session_token, customer_key } = credentials;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(access_key.reveal())
            .with_secret_access_key(secret_key.reveal())
            .with_virtual_hosted_style_request(!settings.path_style)
            .with_client_options(ClientOptions::new().with_allow_http(settings.allow_http))
            .with_http_connector(Judge(wire))
            // Some servers have no request that deletes many; those that have one count it no better.
            .with_disable_bulk_delete(true)
            // Retries are ours: a retry of a conditional write has to look whether it already happened.
            .with_retry(RetryConfig {
                max_retries: 0,
                retry_timeout: Duration::ZERO,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(address(endpoint, settings));
        }
        if let Some(token) = session_token {
            builder = builder.with_token(token.reveal());
        }
        builder = match (&settings.sse, customer_key) {
            (Sse::None {}, _) | (Sse::CustomerKey {}, None) => builder,
            (Sse::S3 {}, _) => match "aws_server_side_encryption".parse() {
                Ok(key) => builder.with_config(key, "AES256"),
                Err(error) => return Err(Trouble::new(Cause::Misconfigured, format!("sse: {error}"))),
            },
            (Sse::Kms { key }, _) => builder.with_sse_kms_encryption(key),
            (Sse::CustomerKey {}, Some(key)) => builder.with_ssec_encryption(key.reveal()),
        };
        let store = builder.build().map_err(|error| Trouble::new(Cause::Misconfigured, error.to_string()))?;
        let secrets = [Some(access_key), Some(secret_key), session_token.as_ref(), customer_key.as_ref()];
        let secrets =
            secrets.into_iter().flatten().map(|secret| Secret::new(secret.reveal().clone())).collect();
        Ok(Self { store, prefix: settings.prefix.clone(), secrets: Arc::new(secrets) })
    }

    fn path(&self, key: &str) -> Result<Path, Trouble> {
        let whole = if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) };
        Path::parse(whole).map_err(|error| Trouble::new(Cause::Other, error.to_string()))
    }

    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        at: Option<Millis>,
        condition: Condition<'_>,
    ) -> Result<Version, Trouble> {
        let mode = match condition {
            Condition::Absent => PutMode::Create,
            Condition::Is(version) => {
                PutMode::Update(UpdateVersion { e_tag: Some(version.0.clone()), version: None })
            }
        };
        let options = PutOptions { mode, attributes: attributes(at), ..PutOptions::default() };
        let put = self.store.put_opts(&self.path(key)?, bytes.into(), options).await;
        let put = put.map_err(|error| self.trouble(&error))?;
        Ok(Version(put.e_tag.unwrap_or_default()))
    }

    /// The object from `range` on, which is checked to be the one of `version` if that is given.
    pub(super) async fn open(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        version: Option<&Version>,
    ) -> Result<Opened, Trouble> {
        let range = range.map(|range| match range.end {
            u64::MAX => GetRange::Offset(range.start),
            _ => GetRange::Bounded(range),
        });
        let if_match = version.map(|version| version.0.clone());
        let options = GetOptions { range, if_match, ..GetOptions::default() };
        let got =
            self.store.get_opts(&self.path(key)?, options).await.map_err(|error| self.trouble(&error))?;
        let (bytes, version) = (got.meta.size, Version(got.meta.e_tag.clone().unwrap_or_default()));
        let secrets =
            self.secrets.iter().map(|secret| Secret::new(secret.reveal().clone())).collect::<Vec<_>>();
        let content = got.into_stream().map_err(move |error| trouble(&secrets, &error)).boxed();
        Ok(Opened { bytes, version, content })
    }

    /// A page of a listing, and where the next begins.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        token: Option<String>,
    ) -> Result<(Vec<Entry>, Option<String>), Trouble> {
        let root = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let options = PaginatedListOptions {
            offset: after.map(|after| format!("{root}{after}")),
            max_keys: Some(KEYS_AT_ONCE),
            page_token: token,
            ..PaginatedListOptions::default()
        };
        let whole = format!("{root}{prefix}");
        let prefix = (!whole.is_empty()).then_some(whole.as_str());
        let page = self.store.list_paginated(prefix, options).await.map_err(|error| self.trouble(&error))?;
        let entry = |object: object_store::ObjectMeta| {
            let key = object.location.as_ref().strip_prefix(&root)?.to_owned();
            let at = Millis(object.last_modified.timestamp_millis());
            Some(Entry { key, bytes: object.size, at })
        };
        Ok((page.result.objects.into_iter().filter_map(entry).collect(), page.page_token))
    }

    /// Deletes; what is not there is deleted.
    pub(super) async fn delete(&self, keys: &[String]) -> Result<(), Trouble> {
        let paths = keys.iter().map(|key| self.path(key)).collect::<Result<Vec<_>, _>>()?;
        let paths = futures_util::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = self.store.delete_stream(paths);
        while let Some(one) = deleted.next().await {
            match one.map_err(|error| self.trouble(&error)) {
                Err(trouble) if trouble.cause != Cause::Absent => return Err(trouble),
                _ => {}
            }
        }
        Ok(())
    }

    /// Begins an upload in parts.
    pub(super) async fn begin(&self, key: &str, at: Option<Millis>) -> Result<MultipartId, Trouble> {
        let options = PutMultipartOptions { attributes: attributes(at), ..PutMultipartOptions::default() };
        self.store
            .create_multipart_opts(&self.path(key)?, options)
            .await
            .map_err(|error| self.trouble(&error))
    }

    pub(super) async fn put_part(
        &self,
        key: &str,
        id: &MultipartId,
        number: usize,
        part: Bytes,
    ) -> Result<PartId, Trouble> {
        let put = self.store.put_part(&self.path(key)?, id, number, part.into()).await;
        put.map_err(|error| self.trouble(&error))
    }

    /// Makes an object of the parts, if there is none: the transport adds the condition.
    pub(super) async fn complete(
        &self,
        key: &str,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<(), Trouble> {
        let done = self.store.complete_multipart(&self.path(key)?, id, parts).await;
        done.map(|_| ()).map_err(|error| self.trouble(&error))
    }

    pub(super) async fn abort(&self, key: &str, id: &MultipartId) -> Result<(), Trouble> {
        self.store.abort_multipart(&self.path(key)?, id).await.map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &object_store::Error) -> Trouble {
        trouble(&self.secrets, error)
    }
}

/// The address with the bucket in it, where it belongs there.
fn address(endpoint: &str, settings: &S3Settings) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) if !settings.path_style => format!("{scheme}://{}.{host}", settings.bucket),
        _ => endpoint.to_owned(),
    }
}

fn attributes(at: Option<Millis>) -> Attributes {
    at.map(|at| (Attribute::Metadata(TIMESTAMP.into()), at.to_string())).into_iter().collect()
}

/// The trouble in an error's chain, put there by our transport; without the secrets.
fn trouble(secrets: &[Secret<String>], error: &(dyn Error + 'static)) -> Trouble {
    let mut link = Some(error);
    let found = loop {
        match link {
            Some(error) => match error.downcast_ref::<Trouble>() {
                Some(trouble) => break trouble.clone(),
                None => link = error.source(),
            },
            None => break Trouble::new(Cause::Other, error.to_string()),
        }
    };
    let mut text = found.text;
    for secret in secrets {
        text = text.replace(secret.reveal(), "…");
    }
    Trouble::new(found.cause, text)
}

/// Parts of an upload: at most 10,000 are allowed, and all but the last must be of 5 MiB or more.
pub(super) fn part_bytes(whole: u64) -> u64 {
    const LEAST: u64 = 8 << 20;
    whole.div_ceil(9000).next_multiple_of(1 << 20).max(LEAST)
}
