use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const SOON: Duration = Duration::from_millis(500);

fn destination(number: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(number), 80))
}

fn a_service(name: &str) -> Answer {
    Answer::Service(Arc::new(Service { name: name.to_owned(), backends: Vec::new(), affinity: Duration::ZERO }))
}

/// A table whose watcher is there, and how often it was asked.
fn table() -> (Arc<Services>, Arc<AtomicUsize>) {
    let services = Arc::new(Services::default());
    services.set_watcher(true);
    (services, Arc::default())
}

async fn resolve(services: &Services, number: u32, asked: &AtomicUsize) -> Option<Answer> {
    let ask = || {
        asked.fetch_add(1, Ordering::Relaxed);
        true
    };
    services.resolve(destination(number), ask).await
}

#[tokio::test]
async fn an_answer_reaches_all_that_wait_and_is_asked_for_once() {
    let (services, asked) = table();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (services, asked) = (Arc::clone(&services), Arc::clone(&asked));
            tokio::spawn(async move { resolve(&services, 1, &asked).await })
        })
        .collect();
    tokio::task::yield_now().await;
    services.answer(destination(1), a_service("a"));
    for task in waiting {
        assert_eq!(task.await.unwrap(), Some(a_service("a")));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn answers_of_both_kinds_are_remembered_and_changes_replace_them() {
    let (services, asked) = table();
    services.set_watcher(false);
    for (number, answer) in [(1, a_service("a")), (2, Answer::NoService)] {
        assert_eq!(resolve(&services, number, &asked).await, None);
        services.answer(destination(number), answer.clone());
        assert_eq!(resolve(&services, number, &asked).await, Some(answer));
    }
    services.answer(destination(1), Answer::NoService);
    assert_eq!(resolve(&services, 1, &asked).await, Some(Answer::NoService));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn another_port_is_another_question() {
    let (services, asked) = table();
    services.set_watcher(false);
    resolve(&services, 1, &asked).await;
    services.answer(destination(1), a_service("a"));
    let other = SocketAddr::new(destination(1).ip(), 81);
    assert_eq!(services.resolve(other, || true).await, None);
}

#[tokio::test]
async fn without_an_answer_one_waits_a_second_and_those_behind_do_not() {
    let (services, asked) = table();
    let start = Instant::now();
    assert_eq!(resolve(&services, 1, &asked).await, None);
    assert!(start.elapsed() >= ANSWER_WITHIN);
    let start = Instant::now();
    assert_eq!(resolve(&services, 1, &asked).await, None);
    assert!(start.elapsed() < SOON);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // It comes all the same, late.
    services.answer(destination(1), a_service("a"));
    assert_eq!(resolve(&services, 1, &asked).await, Some(a_service("a")));
}

#[test]
fn without_an_answer_it_is_asked_again_later() {
    let mut table = Table { watcher_is_there: true, ..Table::default() };
    let start = Instant::now();
    assert!(matches!(table.step(destination(1), start), Step::Wait { ask: true, .. }));
    let Step::Wait { ask: false, within, .. } = table.step(destination(1), start + SOON) else {
        panic!("it is being asked just now")
    };
    assert_eq!(within, ANSWER_WITHIN.checked_sub(SOON).unwrap());
    assert!(matches!(table.step(destination(1), start + ANSWER_WITHIN * 2), Step::GoOn { ask: false }));
    assert!(matches!(table.step(destination(1), start + ASK_AGAIN), Step::Wait { ask: true, .. }));
}

#[tokio::test]
async fn nobody_waits_while_the_watcher_is_away() {
    let (services, asked) = table();
    services.set_watcher(false);
    let start = Instant::now();
    assert_eq!(resolve(&services, 1, &asked).await, None);
    assert_eq!(resolve(&services, 1, &asked).await, None);
    assert!(start.elapsed() < SOON);
    // The question was put all the same: the supervisor asks it when the watcher is back.
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_watcher_that_goes_ends_the_waiting() {
    let (services, asked) = table();
    let waiting = tokio::spawn({
        let (services, asked) = (Arc::clone(&services), Arc::clone(&asked));
        async move { resolve(&services, 1, &asked).await }
    });
    tokio::task::yield_now().await;
    let start = Instant::now();
    services.set_watcher(false);
    assert_eq!(waiting.await.unwrap(), None);
    assert!(start.elapsed() < SOON);
}

#[tokio::test]
async fn what_was_asked_while_the_watcher_was_away_is_waited_for_when_it_is_back() {
    let (services, asked) = table();
    services.set_watcher(false);
    assert_eq!(resolve(&services, 1, &asked).await, None);
    services.set_watcher(true);
    let waiting = tokio::spawn({
        let (services, asked) = (Arc::clone(&services), Arc::clone(&asked));
        async move { resolve(&services, 1, &asked).await }
    });
    tokio::task::yield_now().await;
    services.answer(destination(1), a_service("a"));
    assert_eq!(waiting.await.unwrap(), Some(a_service("a")));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_question_that_could_not_be_sent_is_sent_by_the_next() {
    let (services, asked) = table();
    assert_eq!(services.resolve(destination(1), || false).await, None);
    services.set_watcher(false);
    assert_eq!(resolve(&services, 1, &asked).await, None);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn memory_is_bounded_and_the_oldest_goes_first() {
    let (services, asked) = table();
    services.set_watcher(false);
    let many = u32::try_from(REMEMBERED).unwrap();
    for number in 0..=many {
        resolve(&services, number, &asked).await;
        services.answer(destination(number), Answer::NoService);
    }
    {
        let table = services.table();
        assert_eq!((table.entries.len(), table.order.len()), (REMEMBERED, REMEMBERED));
    }
    assert_eq!(resolve(&services, 1, &asked).await, Some(Answer::NoService));
    assert_eq!(resolve(&services, 0, &asked).await, None);
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_kept() {
    let (services, asked) = table();
    services.set_watcher(false);
    services.answer(destination(1), Answer::NoService);
    assert_eq!(resolve(&services, 1, &asked).await, None);
}
