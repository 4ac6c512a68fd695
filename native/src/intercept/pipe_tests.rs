use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::pipe;
use crate::tunnel::buffers::SIZE;

#[tokio::test]
async fn bytes_arrive_in_order_through_backpressure() {
    let (mut near, mut far) = pipe();
    let sent: Vec<u8> = (0..SIZE * 3 + 17).map(|number| (number % 251) as u8).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        near
    });
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, expected);
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn one_direction_ends_and_the_other_goes_on() {
    let (mut near, mut far) = pipe();
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    far.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn a_reset_wakes_and_fails_both_ends_and_drops_what_was_under_way() {
    let (mut near, mut far) = pipe();
    far.write_all(b"lost").await.unwrap();
    let waiting = tokio::spawn(async move { far.read(&mut [0; 8]).await.unwrap_err().kind() });
    tokio::task::yield_now().await;
    near.reset();
    assert_eq!(waiting.await.unwrap(), ErrorKind::ConnectionReset);
    assert_eq!(near.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_end_that_is_gone_reads_as_an_end_and_breaks_writes() {
    let (mut near, far) = pipe();
    let clone = far.clone();
    drop(far);
    near.write_all(b"still there").await.unwrap();
    drop(clone);
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}
