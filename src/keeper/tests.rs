//! A keeper, and whoever else has to do with it: peers, workers, others who have the listener.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use contract::handover::{Handover, Passage};
use contract::keeper::channel::{Message, Sender};
use contract::keeper::{Link, Owner, Place, State, Table};
use contract::own::Own;
use tokio::time::timeout;

use super::{Keeper, Mode};

const LONG: Duration = Duration::from_secs(20);
/// A whole request on a connection that is kept, without params.
const REQUEST: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0\x01\x04\0\x01\0\0\0\0\x01\x05\0\x01\0\0\0\0";

async fn work(keeper: &mut Keeper, handover: &Handover) {
    let work = timeout(LONG, keeper.next()).await.expect("nothing happens");
    keeper.work(work, handover);
}

/// A connection that no worker has room for, and its peer.
fn left(keeper: &Keeper) -> (Place, UnixStream) {
    let table = Table::map(keeper.ends()[0]).unwrap();
    let sender = Sender::new(Own::new(keeper.ends()[1].try_clone_to_owned().unwrap()));
    let place = table.take(table.new_owner(), &AtomicU32::new(0)).unwrap();
    table.write(place, Owner::KEEPER, State::Idle);
    let (peer, connection) = UnixStream::pair().unwrap();
    connection.set_nonblocking(true).unwrap();
    assert!(sender.send(Message::Connection(place), &[connection.as_fd()]).unwrap());
    assert!(sender.send(Message::Left(place), &[]).unwrap());
    peer.set_read_timeout(Some(LONG)).unwrap();
    (place, peer)
}

#[tokio::test]
async fn connection_on_which_a_request_was_refused_wakes_a_pool_that_rests_meanwhile() {
    let (mut keeper, handover) = (Keeper::new("test").unwrap(), Handover::new().unwrap());
    let (place, mut peer) = left(&keeper);
    keeper.set_mode(Mode::Refuses(None), std::iter::empty(), &handover);
    while keeper.kept() != (1, 1) {
        work(&mut keeper, &handover).await;
    }
    let (begin, rest) = REQUEST.split_at(16);
    peer.write_all(begin).unwrap();
    while !keeper.is_refused(place) {
        work(&mut keeper, &handover).await;
    }
    keeper.set_mode(Mode::Rests, std::iter::empty(), &handover);
    peer.write_all(rest).unwrap();
    while keeper.is_refused(place) {
        work(&mut keeper, &handover).await;
    }
    let mut answer = [0; 1024];
    let length = peer.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).contains("503 Service Unavailable"));
    assert!(!keeper.is_wanted());
    peer.write_all(begin).unwrap();
    while !keeper.is_wanted() {
        work(&mut keeper, &handover).await;
    }
}

#[test]
fn listener_that_somebody_else_has_made_blocking_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let (mut keeper, handover) = (Keeper::new("test").unwrap(), Handover::new().unwrap());
            keeper.set_mode(Mode::Refuses(None), [listener.as_fd()].into_iter(), &handover);
            loop {
                let work = keeper.next().await;
                keeper.work(work, &handover);
            }
        })
    });
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    peer.write_all(REQUEST).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("503 Service Unavailable"));
}

#[tokio::test]
async fn connection_that_was_lost_with_a_part_of_its_request_is_ended_and_its_entry_is_free() {
    let (mut keeper, handover) = (Keeper::new("test").unwrap(), Handover::new().unwrap());
    let (place, mut peer) = left(&keeper);
    let table = Table::map(keeper.ends()[0]).unwrap();
    table.write(place, Owner::KEEPER, State::Receiving);
    while table.read(place).is_some() {
        work(&mut keeper, &handover).await;
    }
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(keeper.kept(), (0, 0));
}

#[tokio::test]
async fn entry_of_a_connection_without_a_duplicate_is_free_when_it_comes_back() {
    let (mut keeper, handover) = (Keeper::new("test").unwrap(), Handover::new().unwrap());
    let table = Table::map(keeper.ends()[0]).unwrap();
    let given = |state| {
        let place = table.take(table.new_owner(), &AtomicU32::new(0)).unwrap();
        table.write(place, Owner::NOBODY, state);
        let (peer, connection) = UnixStream::pair().unwrap();
        let passage = Passage {
            requests: 1,
            entry: Some(Place { count: 1, ..place }),
            begun: None,
        };
        assert!(handover.give(connection.as_fd(), passage, &[]).unwrap());
        (place, peer)
    };
    let (unknown, _peer) = given(State::Given(1));
    // Somebody else has this one by now.
    let (given_again, _other) = given(State::Given(2));
    keeper.set_mode(Mode::Refuses(None), std::iter::empty(), &handover);
    assert_eq!(table.read(unknown), None);
    assert_eq!(table.read(given_again), Some((Owner::NOBODY, State::Given(2))));
}

/// A worker, which is this process.
fn worker(keeper: &Keeper) -> Arc<Link> {
    let channel = Own::new(keeper.ends()[1].try_clone_to_owned().unwrap());
    Link::new(keeper.ends()[0], channel).unwrap().0
}

#[tokio::test]
async fn connection_that_a_worker_has_told_of_just_before_its_death_is_kept() {
    let (mut keeper, handover) = (Keeper::new("test").unwrap(), Handover::new().unwrap());
    keeper.set_leaders([(parent_id() as i32, 1)].into_iter());
    let link = worker(&keeper);
    keeper.listen();
    let number = *keeper.workers.keys().next().unwrap();
    let (_peer, connection) = UnixStream::pair().unwrap();
    let mut entry = link.keep(connection.as_fd(), false).unwrap();
    entry.rest(1);
    keeper.died(number, &handover);
    assert_eq!(keeper.kept(), (1, 1));
    // It is the dead one's.
    std::mem::forget(entry);
}

#[tokio::test]
async fn worker_whose_leader_has_just_died_is_known() {
    let mut keeper = Keeper::new("test").unwrap();
    let leader = parent_id() as i32;
    keeper.set_leaders([(leader, 1)].into_iter());
    keeper.leader_died(leader, None);
    keeper.set_leaders(std::iter::empty());
    let _links = [(); 3].map(|()| worker(&keeper));
    keeper.listen();
    assert_eq!(
        keeper.workers.len(),
        2,
        "no more than it may have, with those that are about to end"
    );
}
