//! Slow start: calls in batches of 1, 2, 4, …, stopping at the first batch with a failure, so that a controller over its quota does
//! not flood the API server with doomed requests.

use crate::Result;
use futures::future::join_all;

/// Runs `call` `count` times at most; returns how many succeeded and the first error.
pub async fn slow_start<F>(count: usize, mut call: impl FnMut(usize) -> F) -> (usize, Result<()>)
where
    F: Future<Output = Result<()>>,
{
    let (mut done, mut succeeded, mut size) = (0, 0, 1);
    while done < count {
        let batch = size.min(count - done);
        let results = join_all((done..done + batch).map(&mut call)).await;
        succeeded += results.iter().filter(|r| r.is_ok()).count();
        if let Some(e) = results.into_iter().find_map(std::result::Result::err) {
            return (succeeded, Err(e));
        }
        done += batch;
        size *= 2;
    }
    (succeeded, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[tokio::test]
    async fn batches_stop_at_the_first_failure() {
        for (name, count, fail_from, want_calls, want_ok) in [
            ("all succeed", 10, 100, 10, 10),
            ("none", 0, 0, 0, 0),
            ("first fails", 10, 0, 1, 0),
            ("fails in the second batch", 10, 2, 3, 2),
            ("fails in the third batch", 10, 5, 7, 5),
        ] {
            let mut calls = 0;
            let (ok, result) = slow_start(count, |i| {
                calls += 1;
                async move { if i < fail_from { Ok(()) } else { Err(Error::other("no")) } }
            })
            .await;
            assert_eq!((calls, ok), (want_calls, want_ok), "{name}");
            assert_eq!(result.is_ok(), ok == count, "{name}");
        }
    }
}
