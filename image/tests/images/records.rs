//! Names, IDs and removals, as docker has them.

use rbuild_image::config::{ImageConfig, RootFs};
use rbuild_image::digest::{ChainId, DiffId, Digest};
use rbuild_image::error::ImageError;
use rbuild_image::layout::Layout;
use rbuild_image::manifest::{Descriptor, Manifest};
use rbuild_image::media::{self, Format};
use rbuild_image::platform::Platform;
use rbuild_image::record::{Force, ImageRecord, Origin, PlatformImage, Removal, Retagged};
use rbuild_image::reference::Reference;
use rbuild_image::store::Store;

struct Fixture {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self {
            _folder: folder,
            store,
        }
    }

    /// Makes an image whose layers are the given texts; pulled images have a manifest.
    fn image(&self, author: &str, layers: &[&str], is_pulled: bool) -> ImageRecord {
        let platform = Platform::host();
        let diff_ids: Vec<_> = layers.iter().map(|layer| diff_id(layer)).collect();
        let config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            author: Some(author.to_owned()),
            rootfs: RootFs {
                diff_ids,
                ..RootFs::default()
            },
            ..ImageConfig::default()
        }
        .to_bytes();
        let image = PlatformImage {
            platform,
            config: self.store.put_blob(&config).unwrap(),
            manifest: is_pulled.then(|| {
                let config = Descriptor::of(media::OCI_CONFIG, &config);
                let layers = layers.iter().map(|layer| {
                    self.store.put_blob(layer.as_bytes()).unwrap();
                    Descriptor::of(media::OCI_LAYER, layer.as_bytes())
                });
                let manifest = Manifest::new(Format::Oci, config, layers.collect()).to_bytes();
                self.store.put_blob(&manifest).unwrap();
                Descriptor::of(media::OCI_MANIFEST, &manifest)
            }),
            size_bytes: None,
        };
        let origin = if is_pulled {
            Origin::Pulled
        } else {
            Origin::Built
        };
        ImageRecord::new(vec![image], None, origin).unwrap()
    }

    fn tag(&self, name: &str, record: &ImageRecord) -> Retagged {
        self.store.tag(&reference(name), record).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let listed = self.store.list().unwrap();
        listed
            .into_iter()
            .map(|listed| {
                let name = listed.reference.map(|reference| reference.familiar());
                name.unwrap_or_else(|| format!("<none> {}", listed.record.id))
            })
            .collect()
    }

    fn id_of(&self, text: &str) -> Option<Digest> {
        let found = self.store.resolve(text).unwrap();
        found.map(|found| found.record.id)
    }

    fn remove(&self, text: &str, force: Force) -> Result<Vec<String>, ImageError> {
        self.store.release();
        let lines = self.store.remove_image(text, force, &|_| false)?;
        Ok(lines
            .into_iter()
            .map(|line| match line {
                Removal::Untagged(reference) => format!("Untagged: {}", reference.familiar()),
                Removal::Deleted(digest) => format!("Deleted: {digest}"),
            })
            .collect())
    }
}

fn reference(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

fn diff_id(layer: &str) -> DiffId {
    DiffId(Digest::of(layer.as_bytes()))
}

#[test]
fn names_are_listed_and_found() {
    let fixture = Fixture::new();
    let (first, second) = (
        fixture.image("first", &["a"], false),
        fixture.image("second", &["a"], true),
    );
    assert_eq!(fixture.tag("app", &first), Retagged::New);
    assert_eq!(fixture.tag("app:latest", &first), Retagged::Same);
    fixture.tag("app/sub:1", &first);
    fixture.tag("[::1]:5000/app:1", &second);
    assert_eq!(
        fixture.names(),
        ["[::1]:5000/app:1", "app/sub:1", "app:latest"]
    );
    assert_eq!(fixture.tag("app", &second), Retagged::Moved(first.id));
    assert_eq!(
        fixture.id_of("docker.io/library/app:latest"),
        Some(second.id)
    );
    assert_eq!(fixture.id_of("app:2"), None);
    fixture
        .store
        .untag(&reference("app/sub:1"))
        .unwrap()
        .unwrap();
    assert_eq!(fixture.store.untag(&reference("app/sub:1")).unwrap(), None);
    let refs = fixture.store.root().join("refs/docker.io/library/app/sub");
    assert!(!refs.try_exists().unwrap(), "empty folders go");
    assert_eq!(
        fixture.names(),
        [
            "[::1]:5000/app:1".to_owned(),
            "app:latest".to_owned(),
            format!("<none> {}", first.id)
        ]
    );
}

#[test]
fn an_image_is_found_by_its_digests() {
    let fixture = Fixture::new();
    let image = fixture.image("x", &["a"], true);
    let hex = image.id.hex();
    fixture.tag("app:1", &image);
    assert_eq!(fixture.id_of(&hex), Some(image.id));
    assert_eq!(fixture.id_of(&image.id.to_string()), Some(image.id));
    assert_eq!(fixture.id_of(&hex[..12]), Some(image.id));
    assert_eq!(
        fixture.id_of(&format!("sha256:{}", &hex[..5])),
        Some(image.id)
    );
    let manifest = image.target().unwrap().digest;
    assert_eq!(fixture.id_of(&manifest.hex()[..12]), Some(image.id));
    assert_eq!(fixture.id_of(&format!("app@{manifest}")), Some(image.id));
    assert_eq!(fixture.id_of(&format!("other@{manifest}")), None);
    assert_eq!(fixture.id_of(&Digest::of(b"nothing").to_string()), None);
    // A name wins over the beginning of an ID.
    let other = fixture.image("y", &["b"], false);
    fixture.tag(&hex[..3], &other);
    assert_eq!(fixture.id_of(&hex[..3]), Some(other.id));
    assert_eq!(fixture.id_of(&hex[..4]), Some(image.id));
    fixture.store.resolve("Bad Name").unwrap_err();
    let error = fixture.store.require("nope").unwrap_err();
    assert_eq!(error.to_string(), "No such image: nope:latest");
}

#[test]
fn an_ambiguous_prefix_is_an_error() {
    let fixture = Fixture::new();
    let mut by_first_digit = std::collections::BTreeMap::new();
    for n in 0..40 {
        let image = fixture.image(&n.to_string(), &[], false);
        fixture.store.keep_image(&image).unwrap();
        *by_first_digit
            .entry(image.id.hex()[..1].to_owned())
            .or_insert(0) += 1;
    }
    for (digit, n_images) in by_first_digit {
        let found = fixture.store.resolve(&digit);
        let is_ambiguous = matches!(found, Err(ImageError::AmbiguousId { .. }));
        assert_eq!(is_ambiguous, n_images > 1, "{digit}");
    }
}

#[test]
fn the_last_name_takes_the_image_with_it() {
    let fixture = Fixture::new();
    let image = fixture.image("x", &["base", "top"], true);
    let derived = fixture.image("y", &["base", "own"], false);
    fixture.tag("derived", &derived);
    fixture.tag("host:5000/app:1", &image);
    fixture.tag("host:5000/app:2", &image);
    let manifest = image.target().unwrap().digest;
    fixture.tag(&format!("host:5000/app@{manifest}"), &image);
    assert_eq!(
        fixture.remove("host:5000/app:1", Force::No).unwrap(),
        ["Untagged: host:5000/app:1"]
    );
    let chain = ChainId::of(&[diff_id("base"), diff_id("top")]).unwrap();
    assert_eq!(
        fixture.remove("host:5000/app:2", Force::No).unwrap(),
        [
            "Untagged: host:5000/app:2".to_owned(),
            format!("Untagged: host:5000/app@{manifest}"),
            format!("Deleted: {}", image.id),
            format!("Deleted: {}", chain.0),
        ]
    );
    let has = |digest: &Digest| fixture.store.has_blob(digest);
    assert!(!has(&image.id) && !has(&manifest) && !has(&diff_id("top").0));
    assert!(has(&derived.id), "another image");
    assert!(
        has(&diff_id("base").0),
        "the derived image needs it to be exported"
    );
    assert_eq!(fixture.names(), ["derived:latest"]);
    let error = fixture.remove("host:5000/app:2", Force::No).unwrap_err();
    assert_eq!(error.to_string(), "No such image: host:5000/app:2");
}

#[test]
fn layers_of_the_cache_stay() {
    let fixture = Fixture::new();
    let image = fixture.image("x", &["cached", "gone"], true);
    fixture.store.keep_image(&image).unwrap();
    let cached = diff_id("cached");
    let keep = |layer: &DiffId| *layer == cached;
    let id = image.id.hex();
    fixture.store.release();
    fixture.store.remove_image(&id, Force::No, &keep).unwrap();
    assert!(fixture.store.has_blob(&cached.0));
    assert!(!fixture.store.has_blob(&diff_id("gone").0));
}

#[test]
fn an_id_with_several_repositories_must_be_forced() {
    let fixture = Fixture::new();
    let image = fixture.image("x", &[], false);
    fixture.tag("one:1", &image);
    fixture.tag("two:1", &image);
    let short = image.id.hex()[..12].to_owned();
    assert_eq!(
        fixture.remove(&short, Force::No).unwrap_err().to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in \
             multiple repositories"
        )
    );
    assert_eq!(
        fixture.remove(&short, Force::Yes).unwrap(),
        [
            "Untagged: one:1".to_owned(),
            "Untagged: two:1".to_owned(),
            format!("Deleted: {}", image.id)
        ]
    );
    assert!(fixture.names().is_empty());
}

#[test]
fn a_damaged_record_hides_only_itself() {
    let fixture = Fixture::new();
    let image = fixture.image("x", &[], false);
    fixture.tag("good", &image);
    fixture.tag("bad", &image);
    let bad = "refs/docker.io/library/bad/_tags/latest.json";
    fs_err::write(fixture.store.root().join(bad), "{").unwrap();
    assert_eq!(fixture.names(), ["good:latest"]);
    fixture.store.resolve("bad").unwrap_err();
}

#[test]
fn a_rebuilt_image_keeps_the_manifest_it_was_pulled_with() {
    let fixture = Fixture::new();
    let pulled = fixture.image("x", &["a"], true);
    let built = fixture.image("x", &["a"], false);
    assert_eq!(pulled.id, built.id);
    fixture.store.keep_image(&pulled).unwrap();
    fixture.store.keep_image(&built).unwrap();
    let found = fixture.store.require(&pulled.id.hex()).unwrap();
    assert_eq!(found.record.target(), pulled.target());
}

#[test]
fn names_may_be_given_from_all_sides() {
    let fixture = Fixture::new();
    let image = fixture.image("x", &["a"], true);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (fixture, image) = (&fixture, &image);
            scope.spawn(move || {
                for round in 0..10 {
                    let name = format!("repo/app{n}:{round}");
                    fixture.tag(&name, image);
                    fixture.tag("repo/all", image);
                    assert_eq!(fixture.id_of(&name), Some(image.id));
                    fixture.store.untag(&reference(&name)).unwrap().unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.names(), ["repo/all:latest"]);
}

#[test]
fn the_store_is_a_layout() {
    let fixture = Fixture::new();
    fixture.tag("app:1", &fixture.image("x", &["a"], true));
    let layout = Layout::open(fixture.store.root()).unwrap();
    assert!(layout.index().manifests.is_empty());
}
