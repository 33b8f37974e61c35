//! A caller keeps its connection from line to line; what becomes of lines when it is closed meanwhile.

use futures_util::FutureExt;
use tokio::join;
use tokio::time::Instant;

use super::*;
use crate::upstream::Caller;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// A server whose connections are worked by the test itself.
struct Door(TcpListener);

impl Door {
    async fn open() -> Self {
        Self(bind().await)
    }

    fn upstream(&self) -> HttpUpstream {
        let address = self.0.local_addr().unwrap().to_string();
        let asked = Arc::default();
        Scripted { address, asked }.upstream()
    }

    async fn accept(&self) -> TcpStream {
        self.0.accept().await.unwrap().0
    }

    /// A new connection, on which one request is answered.
    async fn serve(&self) -> TcpStream {
        let mut stream = self.accept().await;
        serve(&mut stream).await;
        stream
    }

    /// Whatever was sent or closed before has been noticed after this.
    async fn quiet(&self) {
        let (mine, mut theirs) = join!(
            TcpStream::connect(self.0.local_addr().unwrap()),
            self.accept()
        );
        theirs.write_all(b"x").await.unwrap();
        mine.unwrap().read_u8().await.unwrap();
    }

    fn has_nobody(&self) -> bool {
        self.0.accept().now_or_never().is_none()
    }
}

async fn serve(stream: &mut TcpStream) {
    assert!(read(stream).await.ends_with("{\"n\":1}"));
    stream.write_all(OK.as_bytes()).await.unwrap();
}

async fn line(caller: &mut Box<dyn Caller>) -> Reply {
    let body = Bytes::from_static(b"{\"n\":1}");
    ask(caller, body).await
}

async fn ask(caller: &mut Box<dyn Caller>, body: Bytes) -> Reply {
    let request = Request {
        endpoint: CHAT,
        body,
        line_id: "batch_req_1_1",
    };
    caller.send(request).await
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0]).await.unwrap() == 0
}

#[track_caller]
fn is_answered(reply: &Reply) {
    assert!(
        matches!(reply, Reply::Answer { status: 200, .. }),
        "{reply:?}"
    );
}

#[tokio::test]
async fn lines_of_one_caller_go_over_one_connection() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    let (reply, mut stream) = join!(line(&mut caller), door.serve());
    is_answered(&reply);
    for _ in 0..20 {
        let (reply, ()) = join!(line(&mut caller), serve(&mut stream));
        is_answered(&reply);
    }
    assert!(door.has_nobody());
}

#[tokio::test]
async fn a_connection_that_is_closed_while_it_rests_costs_no_line() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    let (_, stream) = join!(line(&mut caller), door.serve());
    drop(stream);
    caller.rest().await;
    let (reply, _) = join!(line(&mut caller), door.serve());
    is_answered(&reply);
    assert!(door.has_nobody(), "it was sent once");
}

#[tokio::test]
async fn a_line_that_finds_its_connection_closed_goes_over_another() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    for _ in 0..5 {
        let (reply, stream) = join!(line(&mut caller), door.serve());
        is_answered(&reply);
        drop(stream);
        door.quiet().await;
    }
    assert!(door.has_nobody(), "each was sent once");
}

#[tokio::test]
async fn a_line_that_may_have_arrived_is_not_sent_twice() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    let (_, mut stream) = join!(line(&mut caller), door.serve());
    let (reply, ()) = join!(line(&mut caller), async {
        read(&mut stream).await;
        drop(stream);
    });
    assert!(matches!(reply, Reply::Unreachable { .. }), "{reply:?}");
    door.quiet().await;
    assert!(door.has_nobody());
    let (reply, _) = join!(line(&mut caller), door.serve());
    is_answered(&reply);
}

#[tokio::test]
async fn a_line_that_is_given_up_takes_its_connection_along() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    let (_, mut stream) = join!(line(&mut caller), door.serve());
    tokio::select! {
        reply = line(&mut caller) => panic!("{reply:?}"),
        _ = read(&mut stream) => {}
    }
    assert!(is_closed(&mut stream).await);
    // An answer to it would be taken for the next line's.
    let (reply, _) = join!(line(&mut caller), door.serve());
    is_answered(&reply);
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_is_one() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    let body = Bytes::from(vec![b' '; 16 << 20]);
    let (reply, _stream) = join!(ask(&mut caller, body), async {
        let mut stream = door.accept().await;
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        let refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(refusal).await.unwrap();
        stream
    });
    assert!(
        matches!(reply, Reply::Answer { status: 413, .. }),
        "{reply:?}"
    );
    // On that connection the rest of the first request would come before the next one.
    let (reply, _) = join!(line(&mut caller), door.serve());
    is_answered(&reply);
}

#[tokio::test]
async fn a_connection_without_a_line_is_closed_after_a_while() {
    let door = Door::open().await;
    let mut caller = door.upstream().caller();
    let (_, mut stream) = join!(line(&mut caller), door.serve());
    tokio::time::pause();
    let before = Instant::now();
    caller.rest().await;
    assert_eq!(before.elapsed().as_secs(), 90);
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn what_a_caller_leaves_is_used_by_the_next_and_goes_with_the_last() {
    let door = Door::open().await;
    let upstream = door.upstream();
    let (mut first, mut second) = (upstream.caller(), upstream.caller());
    let (_, mut stream) = join!(line(&mut first), door.serve());
    drop(first);
    let (reply, ()) = join!(line(&mut second), serve(&mut stream));
    is_answered(&reply);
    assert!(door.has_nobody());
    drop(second);
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn what_a_caller_leaves_is_closed_after_a_while() {
    let door = Door::open().await;
    let upstream = door.upstream();
    let (mut first, mut second) = (upstream.caller(), upstream.caller());
    let (_, mut stream) = join!(line(&mut first), door.serve());
    drop(first);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(90)).await;
    second.rest().await;
    assert!(is_closed(&mut stream).await);
}
