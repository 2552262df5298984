//! A thread that runs one errand at a time, for calls of the client that block: the poll loop asks, goes on polling,
//! and finds the answer in a later turn.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

#[derive(Debug)]
pub(super) struct Errands<Question, Answer> {
    name: &'static str,
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
    open: bool,
}

impl<Question: Send + 'static, Answer: Send + 'static> Errands<Question, Answer> {
    pub(super) fn start(
        name: &'static str,
        mut run: impl FnMut(Question) -> Answer + Send + 'static,
    ) -> std::io::Result<Self> {
        let (questions, to_answer) = sync_channel(1);
        let (give, answers) = sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for question in to_answer {
                if give.send(run(question)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { name, questions, answers, thread, open: false })
    }

    /// True while a question has no answer yet; another one is not taken then.
    pub(super) fn open(&self) -> bool {
        self.open
    }

    pub(super) fn ask(&mut self, question: Question) {
        debug_assert!(!self.open, "one errand at a time");
        self.open = self.questions.try_send(question).is_ok();
    }

    /// True when its thread has ended, by a panic: no answer would ever come.
    pub(super) fn deserted(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.open = false;
        Some(answer)
    }

    /// Ends the thread, which lets go of what it holds; waits for the errand that it may be running.
    pub(super) fn close(self) {
        drop(self.questions);
        drop(self.answers);
        if self.thread.join().is_err() {
            tracing::error!(thread = self.name, "thread of the consumer panicked");
        }
    }
}
