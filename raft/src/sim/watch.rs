//! tokio's `watch`, except that those who wait are woken in the order in which they began to.
//!
//! tokio spreads the waiters over eight lists at random, and its randomness cannot be seeded in a stable build.
//! This is all that would make two runs of one seed differ.
#![allow(unreachable_pub)] // it stands in for a public type

use std::{pin::pin, sync::Arc};

use futures_util::FutureExt;
use openraft::{OptionalSend, OptionalSync, async_runtime};
use tokio::{
    sync::{
        Notify,
        watch::{self, Ref, error::RecvError},
    },
    task::unconstrained,
};

/// Rings when it goes too: whoever waits must learn that nothing comes any more.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// The side that sets the value.
pub struct Sender<T> {
    inner: watch::Sender<T>,
    bell: Bell, // after `inner`: those it wakes find the channel closed
}

/// A side that sees it.
pub struct Receiver<T> {
    inner: watch::Receiver<T>,
    bell: Arc<Notify>,
}

impl<T> Sender<T> {
    /// A channel that holds a value.
    pub fn new(value: T) -> Self {
        Self { inner: watch::Sender::new(value), bell: Bell(Arc::default()) }
    }

    /// A side that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { inner: self.inner.subscribe(), bell: Arc::clone(&self.bell.0) }
    }

    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.inner.borrow()
    }

    /// Sets the value; answers the one before.
    pub fn send_replace(&self, value: T) -> T {
        let before = self.inner.send_replace(value);
        self.bell.0.notify_waiters();
        before
    }

    /// Changes the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.inner.send_modify(change);
        self.bell.0.notify_waiters();
    }

    /// Changes the value; tells the others if `change` says so.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let changed = self.inner.send_if_modified(change);
        if changed {
            self.bell.0.notify_waiters();
        }
        changed
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), bell: Bell(Arc::clone(&self.bell.0)) }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Receiver<T> {
    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.inner.borrow()
    }

    /// The present value, which counts as seen from now on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.inner.borrow_and_update()
    }

    /// Waits for a value not yet seen.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let mut rung = pin!(self.bell.notified());
            rung.as_mut().enable();
            // Unconstrained: a task that has used up its turn must not look like an unchanged value.
            if let Some(known) = unconstrained(self.inner.changed()).now_or_never() {
                return known;
            }
            rung.await;
        }
    }

    /// Waits for a value like that.
    pub async fn wait_for(&mut self, like: impl Fn(&T) -> bool) -> Result<Ref<'_, T>, RecvError> {
        while !like(&self.inner.borrow_and_update()) {
            self.changed().await?;
        }
        Ok(self.inner.borrow())
    }
}

/// The same for the consensus engine.
pub(crate) struct OrderedWatch;

impl async_runtime::Watch for OrderedWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let sender = Sender::new(init);
        let receiver = sender.subscribe();
        (sender, receiver)
    }
}

impl<T: OptionalSend + OptionalSync> async_runtime::WatchSender<OrderedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), async_runtime::watch::SendError<T>> {
        let sent = self.inner.send(value).map_err(|error| async_runtime::watch::SendError(error.0));
        self.bell.0.notify_waiters();
        sent
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        Sender::send_if_modified(self, modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Sender::subscribe(self)
    }
}

impl<T: OptionalSend + OptionalSync> async_runtime::WatchReceiver<OrderedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), async_runtime::watch::RecvError> {
        Receiver::changed(self).await.map_err(|_| async_runtime::watch::RecvError(()))
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        Receiver::borrow_and_update(self)
    }
}
