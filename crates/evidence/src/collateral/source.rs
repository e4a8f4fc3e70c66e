//! The one interface to everything that serves collateral.

use std::sync::Arc;

use async_trait::async_trait;

use super::kinds::{Collateral, CollateralRequest};
use crate::error::CollateralError;

/// Where collateral comes from. It is signed, so the source is not trusted.
#[async_trait]
pub trait CollateralSource: Send + Sync {
    /// The collateral asked for: of the same variant as the request. A source that does
    /// not serve this kind answers [`CollateralError::NoSource`].
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError>;

    /// The same with the evaluation that the vendor has published and does not apply yet
    /// (Intel: `update=early`). `None` from a source that does not have that: then nothing is
    /// known of what will be, which is not to say that nothing changes.
    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        let _ = request;
        Ok(None)
    }

    /// Kept collateral is fetched again with its next use, and served until that has
    /// succeeded. The answer replaces it, unless the kept one has verified and the answer
    /// was issued before it. A source that keeps nothing has nothing to do.
    fn refresh(&self) {}

    /// Notes that evidence has verified with this collateral, which it gave.
    fn verified(&self, request: &CollateralRequest, collateral: &Collateral) {
        let _ = (request, collateral);
    }

    /// Notes that verification failed because of this collateral, which it gave.
    fn refused(&self, request: &CollateralRequest, collateral: &Collateral) {
        let _ = (request, collateral);
    }
}

#[async_trait]
impl<S: CollateralSource + ?Sized> CollateralSource for Arc<S> {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        (**self).collateral(request).await
    }

    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        (**self).early(request).await
    }

    fn refresh(&self) {
        (**self).refresh();
    }

    fn verified(&self, request: &CollateralRequest, collateral: &Collateral) {
        (**self).verified(request, collateral);
    }

    fn refused(&self, request: &CollateralRequest, collateral: &Collateral) {
        (**self).refused(request, collateral);
    }
}
