//! What servers on this machine say of themselves: Prometheus' text format over plain HTTP.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long one page may take.
const LIMIT: Duration = Duration::from_secs(2);
/// More than any page has, in bytes.
const MAXIMUM_LENGTH: u64 = 8 << 20;

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Page(String);

#[cfg(test)]
impl From<String> for Page {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A sample: its labels as they are written, and its value.
struct Sample<'a> {
    labels: &'a str,
    value: f64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        // Names and codes have no quotes.
        let mut labels = self.labels.split("\",").filter_map(|label| label.split_once("=\""));
        labels.find(|(found, _)| *found == name).map(|(_, value)| value.trim_end_matches('"'))
    }
}

impl Page {
    /// Reads a page; `None` if nobody answers.
    pub(super) async fn read(address: SocketAddr, path: &str) -> Option<Self> {
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.take(MAXIMUM_LENGTH).read_to_string(&mut answer).await.ok()?;
            Some(answer)
        };
        let answer = timeout(LIMIT, exchange).await.ok()??;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split_whitespace().nth(1).filter(|status| *status == "200")?;
        Some(Self(body.to_owned()))
    }

    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Sample<'a>> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ').map(|_| rest)?),
            };
            let value = value.split_whitespace().next()?.parse().ok()?;
            Some(Sample { labels, value })
        })
    }

    /// The sum of all samples of a name.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.samples(name).map(|sample| sample.value).sum()
    }

    /// The one sample of a name that counts something.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        let value = self.samples(name).next()?.value;
        (value >= 0.0).then_some(value as u64)
    }

    /// The highest number that a label has.
    pub(super) fn highest(&self, name: &str, label: &str) -> Option<u64> {
        self.samples(name).filter_map(|sample| sample.label(label)?.parse().ok()).max()
    }

    /// The values of one label whose samples are not 0, and the values of those, by the
    /// label's.
    pub(super) fn by_label(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let found = self.samples(name).filter(|sample| sample.value > 0.0);
        let mut found: Vec<_> =
            found.filter_map(|sample| Some((sample.label(label)?.to_owned(), sample.value))).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|next, before| {
            let same = next.0 == before.0;
            if same {
                before.1 += next.1;
            }
            same
        });
        found
    }

    /// The buckets of a histogram, all its series together: bounds and how many are not above
    /// them.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut all: Vec<(f64, f64)> = Vec::new();
        for sample in self.samples(&name) {
            let Some(bound) = sample.label("le").and_then(|bound| bound.replace("+Inf", "inf").parse().ok())
            else {
                continue;
            };
            match all.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => all.push((bound, sample.value)),
            }
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    /// The bound below which this part of what a histogram got since an earlier page is.
    pub(super) fn quantile_since(&self, before: &Self, name: &str, part: f64) -> Option<f64> {
        let earlier = before.buckets(name);
        let since = |(bound, count): (f64, f64)| {
            let known = earlier.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count);
            (bound, count - known)
        };
        let buckets: Vec<(f64, f64)> = self.buckets(name).into_iter().map(since).collect();
        let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
        buckets.into_iter().find(|(_, count)| *count >= part * total).map(|(bound, _)| bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        text.to_owned().into()
    }

    #[test]
    fn samples_are_summed_and_chosen_by_their_labels() {
        let page = page(
            "# HELP requests x\nrequests{model_name=\"a\",status=\"OK\"} 3\n\
             requests{model_name=\"a\",status=\"NOT_FOUND\"} 2\nrequests_more{status=\"OK\"} 9\nmemory 12.5\n\
             versions{version=\"2\"} 1\nversions{version=\"10\"} 1\nbroken{a=\"b\" 1\nmemory\n",
        );
        assert_eq!(page.sum("requests"), 5.0);
        assert_eq!(page.sum("memory"), 12.5);
        assert_eq!(page.highest("versions", "version"), Some(10));
        assert_eq!(page.highest("nothing", "version"), None);
        assert_eq!(
            page.by_label("requests", "status"),
            [("NOT_FOUND".to_owned(), 2.0), ("OK".to_owned(), 3.0)]
        );
    }

    #[test]
    fn a_quantile_is_of_what_came_since() {
        let before = page("t_bucket{le=\"10\"} 100\nt_bucket{le=\"20\"} 100\nt_bucket{le=\"+Inf\"} 100\n");
        let after = page("t_bucket{le=\"10\"} 101\nt_bucket{le=\"20\"} 110\nt_bucket{le=\"+Inf\"} 110\n");
        assert_eq!(after.quantile_since(&before, "t", 0.5), Some(20.0));
        assert_eq!(after.quantile_since(&before, "t", 0.1), Some(10.0));
        assert_eq!(after.quantile_since(&after, "t", 0.5), None);
    }
}
