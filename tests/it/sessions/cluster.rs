//! Three nodes: what ends at one has ended at all, and stays ended.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Tokens, delete, log_in, refresh, status};
use crate::harness::{BINARY, Caller, Nodes, await_condition, code, create_organization};

/// Sessions that are ended while all nodes know them.
const ROUNDS: usize = 40;
/// Generous, for a machine that does something else besides; what was measured is printed.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

fn callers(nodes: &Nodes) -> Vec<Caller> {
    nodes.urls.iter().map(|url| Caller::new(url)).collect()
}

/// Every node remembers the caller.
fn everywhere(callers: &[Caller], tokens: &Tokens) {
    for caller in callers {
        await_condition("a session to be known", Duration::from_secs(10), || status(caller, tokens) == 200);
    }
}

#[test]
fn a_session_that_ends_at_one_node_has_ended_at_every_other_in_a_moment() {
    let nodes = Nodes::three(Path::new(BINARY));
    create_organization(&nodes.platform(), "acme", "enterprise", None);
    let callers = callers(&nodes);
    let mut took: Vec<Duration> = Vec::new();
    for round in 0..ROUNDS {
        let tokens = log_in(&callers[round % 3], "acme");
        everywhere(&callers, &tokens);
        let ends = callers[(round + 1) % 3].with_token(&tokens.access);
        let path = format!("/api/v2/auth/sessions/{}", tokens.session());
        let began = Instant::now();
        assert_eq!(delete(&ends, &path).status, 204);
        let answered = Instant::now();
        took.extend(thread::scope(|scope| {
            let watch = callers.iter().map(|caller| {
                let tokens = &tokens;
                scope.spawn(move || {
                    while status(caller, tokens) != 401 {
                        assert!(
                            began.elapsed() < ENDED_WITHIN,
                            "a session is alive after {:?}",
                            began.elapsed()
                        );
                    }
                    answered.elapsed()
                })
            });
            watch.collect::<Vec<_>>().into_iter().map(|watch| watch.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!(
        "ended everywhere after the answer: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(50),
        at(99),
        at(100)
    );
}

#[test]
fn an_ended_session_stays_ended_when_the_leader_dies_and_refreshing_goes_on_at_another_node() {
    let nodes = Nodes::three(Path::new(BINARY));
    create_organization(&nodes.platform(), "acme", "enterprise", None);
    let all = callers(&nodes);
    let (ended, kept) = (log_in(&all[0], "acme"), log_in(&all[0], "acme"));
    everywhere(&all, &ended);
    // The same token at two nodes at once: one successor.
    let (here, there) = thread::scope(|scope| {
        let here = scope.spawn(|| Tokens::of(&refresh(&all[1], &kept.refresh)));
        let there = scope.spawn(|| Tokens::of(&refresh(&all[2], &kept.refresh)));
        (here.join().unwrap(), there.join().unwrap())
    });
    assert_eq!(here.refresh, there.refresh);

    let leader = nodes.leader();
    let left: Vec<&Caller> = (0..3).filter(|node| *node != leader).map(|node| &all[node]).collect();
    let ends = all[leader].with_token(&ended.access);
    assert_eq!(ends.send("POST", "/api/v2/auth/logout", None, &[]).unwrap().status, 204);
    nodes.kill(leader);
    // A follower learns from the next leader that the end was committed, and does not go back behind it.
    for caller in &left {
        await_condition("the ended session to be refused", Duration::from_secs(20), || {
            status(caller, &ended) == 401
        });
    }
    let stays_ended = |caller: &Caller| assert_ne!(status(caller, &ended), 200, "a session came back");
    let mut next = None;
    await_condition("a refresh under another leader", Duration::from_secs(20), || {
        left.iter().for_each(|caller| stays_ended(caller));
        let answer = refresh(left[0], &here.refresh);
        next = (answer.status == 200).then(|| Tokens::of(&answer));
        next.is_some()
    });
    nodes.start(leader, Path::new(BINARY));
    all.iter().for_each(stays_ended);
    everywhere(&all, &next.unwrap());
    all.iter().for_each(stays_ended);
}

#[test]
fn a_node_that_hears_no_leader_for_long_recognises_nobody() {
    let nodes = Nodes::three(Path::new(BINARY));
    create_organization(&nodes.platform(), "acme", "enterprise", None);
    let all = callers(&nodes);
    let tokens = log_in(&all[0], "acme");
    everywhere(&all, &tokens);
    nodes.kill(1);
    nodes.kill(2);
    let alone = all[0].with_token(&tokens.access);
    let stale = [("x-consistency", "stale")];
    await_condition("the node to recognise nobody", Duration::from_secs(30), || {
        let answer = alone.send("GET", "/api/v2/auth/me", None, &stale).unwrap();
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.body);
        answer.status == 503 && code(&answer) == "no_quorum"
    });
    assert_eq!(all[0].get("/.well-known/jwks.json").status, 200, "what is public is public");
    nodes.start(1, Path::new(BINARY));
    await_condition("the session to be recognised again", Duration::from_secs(20), || {
        status(&all[0], &tokens) == 200
    });
}
