use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::secret::Keys;
use crate::store::sqlite::Sqlite;

const NOW: Moment = Moment::from_unix(1_000_000);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> Arc<dyn Store> {
        let keys = Arc::new(Keys::open_or_make(self.0.path()).unwrap());
        Arc::new(Sqlite::open(&self.0.path().join("bauta.db"), keys).unwrap())
    }

    async fn start(&self, now: Moment) -> Result<Arc<Tokens>, TokenError> {
        Tokens::open(self.0.path(), self.store(), now).await.map(Arc::new)
    }

    fn path(&self, scope: Scope) -> PathBuf {
        self.0.path().join("tokens").join(scope.as_str())
    }

    fn file(&self, scope: Scope) -> String {
        fs::read_to_string(self.path(scope)).unwrap().trim().to_owned()
    }
}

fn scope_of(tokens: &Tokens, token: &str, now: Moment) -> Option<Scope> {
    tokens.check(token, now).map(|bearer| bearer.scope)
}

fn facts(tokens: &Tokens, scope: Scope) -> TokenFacts {
    tokens.page(None, 100, NOW).into_iter().find(|facts| facts.scope == scope).unwrap()
}

fn wish(scope: Scope, name: &str, expires_in: Option<u32>) -> NewToken {
    NewToken { scope, name: TokenName::new(name).unwrap(), expires_in, requests_per_second: None }
}

#[tokio::test]
async fn first_tokens_are_made_once_private_and_open_their_own_scope() {
    let place = Place::new();
    place.start(NOW).await.unwrap();
    let files = Scope::ALL.map(|scope| place.file(scope));
    let tokens = place.start(NOW).await.unwrap();
    for (scope, token) in Scope::ALL.into_iter().zip(&files) {
        assert_eq!(fs::metadata(place.path(scope)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((token.len(), scope_of(&tokens, token, NOW)), (64, Some(scope)));
        assert_eq!(scope_of(&tokens, &token[..63], NOW), None);
        fs::remove_file(place.path(scope)).unwrap();
    }
    assert_eq!(scope_of(&tokens, "", NOW), None);
    // The files may be gone: the store decides.
    let tokens = place.start(NOW).await.unwrap();
    assert_eq!(scope_of(&tokens, &files[0], NOW), Some(Scope::Business));
    assert_eq!(fs::read_dir(place.0.path().join("tokens")).unwrap().count(), 0);
    assert_eq!(tokens.page(None, 100, NOW).len(), 4);
}

#[tokio::test]
async fn a_file_from_before_is_taken_up_and_a_bad_one_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.0.path().join("tokens")).unwrap();
    let write = |scope, text: &str, mode| {
        fs::write(place.path(scope), text).unwrap();
        fs::set_permissions(place.path(scope), fs::Permissions::from_mode(mode)).unwrap();
    };
    let own = "a token that was there before, of some length";
    write(Scope::Proxy, "secret\n", 0o600);
    assert!(matches!(place.start(NOW).await, Err(TokenError::Short(_))));
    write(Scope::Proxy, own, 0o640);
    assert!(matches!(place.start(NOW).await, Err(TokenError::Open(_))));
    write(Scope::Proxy, &format!("{own}\n"), 0o600);
    let tokens = place.start(NOW).await.unwrap();
    assert_eq!(scope_of(&tokens, own, NOW), Some(Scope::Proxy));
    assert_eq!(place.file(Scope::Proxy), own);

    let place = Place::new();
    fs::create_dir_all(place.0.path().join("tokens")).unwrap();
    for scope in [Scope::Proxy, Scope::Business] {
        fs::write(place.path(scope), own).unwrap();
        fs::set_permissions(place.path(scope), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(matches!(place.start(NOW).await, Err(TokenError::Shared(_))), "one token opens one scope");
}

#[tokio::test]
async fn what_expired_or_was_deleted_does_not_come_back_by_a_restart() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    let first = place.file(Scope::Business);
    // The only token of its scope expires, and lies in the file.
    let (short, token) = tokens.create(wish(Scope::Business, "short", Some(10)), NOW).await.unwrap();
    tokens.delete(facts(&tokens, Scope::Business).id, NOW).await.unwrap();
    assert!(!place.path(Scope::Business).exists(), "the file of a deleted token goes with it");
    fs::write(place.path(Scope::Business), &**token).unwrap();
    fs::set_permissions(place.path(Scope::Business), fs::Permissions::from_mode(0o600)).unwrap();
    let edge = NOW.plus(10);
    assert_eq!(scope_of(&tokens, &token, NOW.plus(9)), Some(Scope::Business));
    assert_eq!(scope_of(&tokens, &token, edge), None);
    assert!(matches!(tokens.rotate(short.id, 0, edge).await, Err(TokenChangeError::Expired)));

    let tokens = place.start(edge).await.unwrap();
    let new = place.file(Scope::Business);
    assert!(new != first && new != **token);
    assert_eq!(scope_of(&tokens, &new, edge), Some(Scope::Business));
    assert_eq!((scope_of(&tokens, &first, edge), scope_of(&tokens, &token, edge)), (None, None));
}

#[tokio::test]
async fn a_file_that_opens_nothing_is_named_in_the_log() {
    let place = Place::new();
    place.start(NOW).await.unwrap();
    fs::write(place.path(Scope::Proxy), "0123456789abcdef0123456789abcdef").unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let (shared, level) = (Arc::new(log.reopen().unwrap()), tracing::Level::WARN);
    let subscriber = tracing_subscriber::fmt().with_writer(shared).with_max_level(level).finish();
    let captured = tracing::subscriber::set_default(subscriber);
    place.start(NOW).await.unwrap();
    drop(captured);
    let log = fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("tokens/proxy: holds a token that is not in force"), "{log}");
    assert!(log.lines().count() == 1 && !log.contains("0123456789"), "{log}");
}

#[tokio::test]
async fn a_change_whose_client_hangs_up_is_made_in_memory_too() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    let (made, token) = tokens.create(wish(Scope::Proxy, "another", None), NOW).await.unwrap();
    tokio::select! {
        biased;
        _ = tokens.delete(made.id, NOW) => panic!("it has not begun"),
        () = std::future::ready(()) => {}
    }
    while tokens.check(&token, NOW).is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let tokens = place.start(NOW).await.unwrap();
    assert!(tokens.check(&token, NOW).is_none());
}

#[tokio::test]
async fn a_rotation_keeps_the_old_token_as_long_as_was_said() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    let (id, old) = (facts(&tokens, Scope::Proxy).id, place.file(Scope::Proxy));
    let (rotated, new) = tokens.rotate(id, 60, NOW).await.unwrap();
    assert_eq!((rotated.id, rotated.former_until), (id, Some(NOW.plus(60))));
    assert_eq!(place.file(Scope::Proxy), **new, "the file follows");
    for tokens in [&tokens, &place.start(NOW).await.unwrap()] {
        assert_eq!(scope_of(tokens, &old, NOW.plus(59)), Some(Scope::Proxy));
        assert_eq!(scope_of(tokens, &old, NOW.plus(60)), None);
        assert_eq!(scope_of(tokens, &new, NOW.plus(60)), Some(Scope::Proxy));
        let kept = |now| tokens.page(None, 9, now).iter().filter(|f| f.former_until.is_some()).count();
        assert_eq!((kept(NOW.plus(59)), kept(NOW.plus(60))), (1, 0));
    }
    // After a leak: with no time to keep, neither of the two before opens anything.
    fs::remove_file(place.path(Scope::Proxy)).unwrap();
    let (_, newest) = tokens.rotate(id, 0, NOW).await.unwrap();
    assert_eq!((scope_of(&tokens, &old, NOW), scope_of(&tokens, &new, NOW)), (None, None));
    assert_eq!(scope_of(&tokens, &newest, NOW), Some(Scope::Proxy));
    assert!(!place.path(Scope::Proxy).exists(), "who removed the file does not get it back");
    assert!(matches!(tokens.rotate(id, 604_801, NOW).await, Err(TokenChangeError::Range { .. })));
    assert!(matches!(tokens.rotate(Uuid::nil(), 0, NOW).await, Err(TokenChangeError::Unknown)));
}

#[tokio::test]
async fn the_last_operator_token_stays() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    let last = facts(&tokens, Scope::Operator).id;
    assert!(matches!(tokens.delete(last, NOW).await, Err(TokenChangeError::LastOperator)));
    let (short, _) = tokens.create(wish(Scope::Operator, "short", Some(5)), NOW).await.unwrap();
    assert!(
        matches!(tokens.delete(last, NOW.plus(5)).await, Err(TokenChangeError::LastOperator)),
        "one that has expired does not count"
    );
    tokens.delete(last, NOW).await.unwrap();
    assert!(matches!(tokens.delete(last, NOW).await, Err(TokenChangeError::Unknown)));
    assert!(matches!(tokens.delete(short.id, NOW).await, Err(TokenChangeError::LastOperator)));
}

#[tokio::test]
async fn the_last_use_is_saved_and_survives_a_restart() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    let token = place.file(Scope::Dispute);
    tokens.check(&token, NOW.plus(7)).unwrap();
    tokens.check(&token, NOW.plus(3)).unwrap();
    tokens.save_uses().await;
    let tokens = place.start(NOW).await.unwrap();
    assert_eq!(facts(&tokens, Scope::Dispute).last_used_at, Some(NOW.plus(7)));
    assert_eq!(facts(&tokens, Scope::Proxy).last_used_at, None);
    // A rotation does not forget it either.
    tokens.check(&token, NOW.plus(9)).unwrap();
    tokens.rotate(facts(&tokens, Scope::Dispute).id, 0, NOW).await.unwrap();
    tokens.save_uses().await;
    let tokens = place.start(NOW).await.unwrap();
    assert_eq!(facts(&tokens, Scope::Dispute).last_used_at, Some(NOW.plus(9)));
}

#[tokio::test]
async fn tokens_are_bounded_in_number_and_come_in_pages() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    for n in 4..MOST_TOKENS {
        tokens.create(wish(Scope::Proxy, &format!("proxy-{n}"), None), NOW).await.unwrap();
    }
    let more = tokens.create(wish(Scope::Proxy, "more", None), NOW).await;
    assert!(matches!(more, Err(TokenChangeError::TooMany)));
    let (mut after, mut ids) = (None, Vec::new());
    loop {
        let page = tokens.page(after, 100, NOW);
        ids.extend(page.iter().map(|facts| facts.id));
        match page.last() {
            Some(last) => after = Some(last.id),
            None => break,
        }
    }
    assert!(ids.is_sorted() && ids.len() == MOST_TOKENS);
}

#[tokio::test]
async fn no_database_file_holds_a_token() {
    let place = Place::new();
    let tokens = place.start(NOW).await.unwrap();
    let mut shown = vec![place.file(Scope::Proxy), place.file(Scope::Operator)];
    let (made, token) = tokens.create(wish(Scope::Proxy, "another", None), NOW).await.unwrap();
    shown.push(token.to_string());
    shown.push(tokens.rotate(made.id, 60, NOW).await.unwrap().1.to_string());
    let mut searched = 0;
    for entry in
        fs::read_dir(place.0.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file())
    {
        let content = fs::read(entry.unwrap().path()).unwrap();
        let has = |part: &[u8]| content.windows(part.len()).any(|window| window == part);
        searched += usize::from(has(TokenHash::of(&shown[3]).as_bytes()));
        for token in &shown {
            let bytes = crate::secret::unhex(token).unwrap();
            assert!(!has(&token.as_bytes()[..32]) && !has(&token.as_bytes()[32..]) && !has(&bytes[..16]));
        }
    }
    assert!(searched > 0, "the hash was not found: the files were not searched");
    assert!(format!("{:?}", tokens.entry(made.id)).contains("TokenHash(…)"), "hashes are not printed");
}
