//! End of an upload whose codec leaves something behind.

use std::future;

use fedra_protocol::SentShare;
use futures_channel::mpsc;

use super::*;

#[tokio::test]
async fn the_last_bytes_of_an_update_wait_for_what_it_leaves_behind() {
    let topk = CodecName::named("topk").unwrap().with_share(SentShare::new(400_000).unwrap());
    let server = Server { codec: topk, ..Server::new().await };
    let (keeps, mut kept) = mpsc::unbounded();
    let store = ResidualStore::elsewhere(
        || future::ready(None),
        move |bytes| {
            let (stored, storing) = oneshot::channel::<()>();
            keeps.unbounded_send((bytes, stored)).unwrap();
            storing.map(drop)
        },
    );
    let client = client_with(server.address, ParticipationLog::nowhere(), store);
    let serve = async {
        let (mut peer, _) = server.session().await;
        server.hand_out_the_model().await;
        let (begin, mut received) = (peer.begin().await, Vec::new());
        peer.take(&mut received, CHUNK as usize).await;
        let (bytes, stored) = kept.next().await.expect("it is kept");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.len() > 8 * 7850, "what is kept, and what this update leaves");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(peer.0.next().now_or_never().is_none(), "it waits");
        stored.send(()).unwrap();
        let ClientMessage::UpdateChunk(last) = peer.next().await else { panic!("a chunk") };
        received.extend_from_slice(&last.data);
        assert_eq!((received.len() as u64, checksum(&received)), (begin.bytes, begin.crc32));
        let (verdict, message) = (UpdateVerdict::Accepted, String::new());
        let outcome = UpdateOutcome { round: ROUND, verdict, message };
        peer.send(ServerMessage::UpdateOutcome(outcome)).await;
        while let Some(Ok(Message::Binary(_))) = peer.0.next().await {}
    };
    let ((), accepted) = futures_util::join!(serve, take_part(client));
    assert_eq!(accepted, 1);
    assert!(kept.next().now_or_never().flatten().is_none(), "the verdict is no news");
}
