//! `/v1/recordings`: for the dispute desk. What is archived is read from disk, the rest from the store.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use recorder::archive;
use recorder::manifest::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::archives::{Archives, Found};
use super::body::{json, json_text};
use super::page;
use super::problem::Problem;
use super::range::{Wanted, wanted};
use super::recorder::Recorder;
use super::stream;
use crate::moment::Moment;
use crate::name::TripId;
use crate::secret::hex;
use crate::store::RecordingEntry;

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// The call is in progress.
    Capturing,
    /// The call is over, the archive not finished.
    Archiving,
    /// The archive is finished.
    Archived,
    /// The call is over, and the recorder has nothing of it.
    Missing,
}

#[derive(Serialize)]
struct Listed {
    id: Uuid,
    trip: Option<TripId>,
    call: String,
    started_at: Moment,
    state: Stage,
    continues: Option<Uuid>,
}

/// What it takes to say where recordings stand.
struct Desk {
    archives: Arc<Archives>,
    live: HashSet<Uuid>,
    recorder: Recorder,
}

impl Desk {
    async fn open(api: &Api) -> Self {
        Self {
            archives: Arc::clone(&api.archives),
            live: api.live.list().iter().map(|call| call.id).collect(),
            recorder: Recorder::look(api).await,
        }
    }

    fn stage(&self, id: Uuid) -> Stage {
        // A spool is removed when its archive is finished: looked for in this order, neither is missed.
        let spooled = self.archives.has_spool(id);
        if self.archives.has_archive(id) {
            Stage::Archived
        } else if self.live.contains(&id) {
            Stage::Capturing
        } else if spooled || !self.recorder.keeps_up() {
            Stage::Archiving
        } else {
            Stage::Missing
        }
    }

    fn listed(&self, entry: RecordingEntry) -> Listed {
        let RecordingEntry { id, trip, call, started_at } = entry;
        Listed { id, trip, call: hex(&call), started_at, state: self.stage(id), continues: None }
    }

    /// The recordings of calls, and whatever else was archived of them. One without an archive of its own, and with
    /// another that does not go on from it, is that one.
    fn all(&self, entries: Vec<RecordingEntry>) -> Vec<Listed> {
        let owns: Vec<Listed> = entries.into_iter().map(|entry| self.listed(entry)).collect();
        let calls: Vec<_> = owns.iter().map(|own| (own.call.clone(), own.started_at)).collect();
        let mut all = Vec::new();
        for (own, mut found) in owns.into_iter().zip(self.archives.of_calls(&calls)) {
            found.retain(|found| found.id != own.id);
            let instead = found.iter().any(|found| found.continues != Some(own.id));
            all.extend(found.into_iter().map(|found| own.under(found)));
            if own.state != Stage::Missing || !instead {
                all.push(own);
            }
        }
        all
    }
}

impl Listed {
    /// The same call's archive of another id.
    fn under(&self, Found { id, continues }: Found) -> Self {
        let began = id.get_timestamp().and_then(|at| i64::try_from(at.to_unix().0).ok());
        let started_at = began.map_or(self.started_at, Moment::from_unix);
        let (trip, call) = (self.trip.clone(), self.call.clone());
        Self { id, trip, call, started_at, state: Stage::Archived, continues }
    }
}

/// What `GET /v1/recordings` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    trip: TripId,
    after: Option<Uuid>,
    limit: Option<usize>,
}

/// `GET /v1/recordings?trip=…&after=…&limit=…`: a trip's recordings, oldest first; `next` is the `after` of the next
/// page.
pub(super) async fn list(
    State(api): State<Api>,
    query: Result<Query<List>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(List { trip, after, limit }) = query?;
    let limit = page::limit(limit)?;
    let entries = api.masking.store().recordings(trip).await?;
    let desk = Desk::open(&api).await;
    let mut listed = blocking(move || desk.all(entries)).await?;
    // The ids are in the order of the offers.
    listed.retain(|one| Some(one.id) > after);
    listed.sort_by_key(|one| one.id);
    let next = page::cut(&mut listed, limit, |one| one.id);
    Ok(json(StatusCode::OK, &json!({ "recordings": listed, "next": next })))
}

/// `GET /v1/recordings/{id}`: the manifest, or where the recording stands when there is none yet.
pub(super) async fn read(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = id.parse().map_err(|_| unknown())?;
    if let Some(manifest) = content(&api, id, archive::MANIFEST).await? {
        return Ok(json_text(StatusCode::OK, manifest));
    }
    Ok(json(StatusCode::OK, &unfinished(&api, id).await?))
}

/// `GET /v1/recordings/{id}/audio`: the recording as Ogg Opus, or a part of it.
pub(super) async fn audio(
    State(api): State<Api>,
    method: Method,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id.parse().map_err(|_| unknown())?;
    // The manifest is written last: audio without it is not finished.
    if let Some(manifest) = content(&api, id, archive::MANIFEST).await?
        && let Some((audio, length)) = opened(&api, id, archive::AUDIO).await?
    {
        let tag = tag(&manifest, length);
        if tag.is_none() {
            tracing::warn!(recording = %id, "the manifest is damaged or tells of other audio: bauta verify says more");
        }
        let wanted = wanted(&method, &headers, tag.as_deref(), length);
        let mut response = answer(wanted, audio, length, method == Method::HEAD)?;
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
            headers.insert(header::ETAG, tag);
        }
        return Ok(response);
    }
    let stage = match unfinished(&api, id).await?.state {
        Stage::Capturing => "the call is still in progress",
        Stage::Archiving | Stage::Archived => "the archive is not finished; try again in a moment",
        Stage::Missing => "the recorder has nothing of this call; why is in its log",
    };
    Err(Problem::new(StatusCode::CONFLICT, "not_archived", stage))
}

/// The audio's strong entity tag: its hash, as its manifest has it. None when the manifest is damaged, or is of audio
/// of another length.
fn tag(manifest: &[u8], length: u64) -> Option<String> {
    let Manifest { audio, .. } = Manifest::from_bytes(manifest).ok()?;
    (audio.bytes == length).then(|| format!("\"{}\"", audio.sha256))
}

/// RFC 9110, sections 15.3.7, 15.4.5 and 15.5.17.
fn answer(wanted: Wanted, audio: File, length: u64, head: bool) -> Result<Response, Problem> {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("audio/ogg"))];
    let span = |span: String| HeaderValue::from_str(&span).map(|span| [(header::CONTENT_RANGE, span)]);
    let broken =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer cannot be written");
    Ok(match wanted {
        // What it says is as long as what a GET would bring.
        Wanted::Whole if head => {
            (StatusCode::OK, kind, [(header::CONTENT_LENGTH, HeaderValue::from(length))], Body::empty())
                .into_response()
        }
        Wanted::Whole => (StatusCode::OK, kind, stream::body(audio, 0..length)).into_response(),
        Wanted::Part(part) => {
            let span = span(format!("bytes {}-{}/{length}", part.start, part.end - 1)).map_err(broken)?;
            (StatusCode::PARTIAL_CONTENT, kind, span, stream::body(audio, part)).into_response()
        }
        Wanted::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Wanted::OutOfReach => {
            let detail = format!("the audio has {length} bytes");
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail);
            (span(format!("bytes */{length}")).map_err(broken)?, problem).into_response()
        }
    })
}

async fn unfinished(api: &Api, id: Uuid) -> Result<Listed, Problem> {
    let entry = api.masking.store().recording(id).await?.ok_or_else(unknown)?;
    let desk = Desk::open(api).await;
    blocking(move || desk.listed(entry)).await
}

/// What is in a file of an archive; none when it is not there.
async fn content(api: &Api, id: Uuid, name: &'static str) -> Result<Option<Vec<u8>>, Problem> {
    let Some((mut file, _)) = opened(api, id, name).await? else { return Ok(None) };
    let mut content = Vec::new();
    let read = blocking(move || file.read_to_end(&mut content).map(|_| content)).await?;
    read.map(Some).map_err(|error| unreadable(&error, id, name))
}

/// A file of an archive and its length in bytes; none when it is not there.
async fn opened(api: &Api, id: Uuid, name: &'static str) -> Result<Option<(File, u64)>, Problem> {
    let Some(path) = api.archives.file(id, name) else { return Ok(None) };
    let open = move || -> std::io::Result<_> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    match blocking(open).await? {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&error, id, name)),
    }
}

fn unreadable(error: &std::io::Error, id: Uuid, name: &str) -> Problem {
    let detail = "the archive cannot be read; the reason is in control's log";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "archive_unreadable", detail)
        .because(&format!("recording {id}: {name} cannot be read: {error}"))
}

/// Runs file work where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "reading was given up");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

fn unknown() -> Problem {
    Problem::not_found("there is no such recording")
}
