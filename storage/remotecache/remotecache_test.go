package remotecache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/records/recordstest"
)

// example is an index with records and reads.
func example(n int) Index {
	var x Index
	for i := range n {
		x.Records = append(x.Records, recordstest.Record(recordstest.Hex(i), recordstest.Hex(i+1), recordstest.Digest(i), i))
		x.Reads = append(x.Reads, Read{recordstest.Hex(i), recordstest.Hex(i + 2), []digest.Digest{recordstest.Digest(i)}})
	}
	return x
}

func encoded(t testing.TB, x Index) []byte {
	t.Helper()
	raw, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What was encoded is decoded, and its text does not depend on the order.
func TestIndex(t *testing.T) {
	t.Parallel()
	x := example(20)
	for i := range x.Records {
		x.Records[i].Created = time.Unix(int64(1_000_000_000+i*7%20), 0).UTC() // in no order of anything else
	}
	x.Layers = []digest.Digest{recordstest.Digest(3), recordstest.Digest(1)}
	raw := encoded(t, x)
	back, dropped, err := Decode(raw)
	if err != nil || dropped != 0 || len(back.Records) != 20 || len(back.Reads) != 20 || !slices.Equal(back.Layers, x.Layers) {
		t.Fatalf("%d records, %d reads, %v, %d dropped, %v", len(back.Records), len(back.Reads), back.Layers, dropped, err)
	}
	for _, r := range back.Records {
		if !slices.Contains(x.Records, r) {
			t.Errorf("%+v was not encoded", r)
		}
	}
	if !slices.IsSortedFunc(back.Records, func(a, b records.Record) int { return a.Created.Compare(b.Created) }) {
		t.Error("the oldest record is not the first")
	}
	slices.Reverse(x.Records)
	slices.Reverse(x.Reads)
	x.Records, x.Reads = append(x.Records, x.Records...), append(x.Reads, x.Reads...)
	if again := encoded(t, x); !bytes.Equal(again, raw) {
		t.Error("another order gives another text")
	}
	if _, err := example(maxRecords + 1).Encode(); err == nil {
		t.Error("too many are encoded")
	}
}

// An index that is none is an error, and of one that is partly none the rest is left.
func TestHostileIndex(t *testing.T) {
	t.Parallel()
	good := string(encoded(t, example(1)))
	many := func(what, one string, n int) string {
		return `{"version":1,"` + what + `":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`
	}
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "records", "a list": "[]", "null": "null", "cut short": good[:len(good)-20], "of the future": strings.Replace(good, `"version":1`, `"version":2`, 1),
		"a hundred thousand records": many("records", "{}", 100_000), "as many reads": many("reads", "{}", 100_000), "as many layers": many("layers", `""`, 100_000),
		"too large": good + strings.Repeat(" ", maxIndex), "nested": strings.Repeat("[", 100_000),
	} {
		if x, _, err := Decode([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %d records, %v", name, len(x.Records), err)
		}
	}
	key, d := recordstest.Hex(1), recordstest.Digest(1)
	for name, one := range map[string]string{
		"empty": `{}`, "a path": `{"key":"../../../../etc/passwd"}`, "a path of the length of a key": `{"key":"` + ("../" + strings.Repeat("a", 61)) + `"}`,
		"a content that is a path": `{"key":"` + key + `","content":"/etc"}`, "a layer that is a path": `{"key":"` + key + `","diff":"sha256:../../x"}`,
		"another algorithm": `{"key":"` + key + `","diff":"sha512:` + strings.Repeat("a", 128) + `"}`,
		"a size below 0":    `{"key":"` + key + `","diff":"` + d.String() + `","size":-1}`,
		"a size beyond all": `{"key":"` + key + `","diff":"` + d.String() + `","size":9000000000000000000}`,
		"a far year":        `{"key":"` + key + `","created":"0000-01-01T00:00:00Z"}`,
	} {
		text := strings.Replace(good, `"records":[`, `"records":[`+one+`,`, 1)
		x, dropped, err := Decode([]byte(text))
		if err != nil || dropped != 1 || len(x.Records) != 1 {
			t.Errorf("%s: %d records, %d dropped, %v", name, len(x.Records), dropped, err)
		}
	}
	for name, one := range map[string]string{
		"empty": `{}`, "no layer": `{"key":"` + key + `","content":"` + key + `"}`, "a path": `{"key":"../x","content":"` + key + `","layers":["` + d.String() + `"]}`,
		"many layers":            `{"key":"` + key + `","content":"` + key + `","layers":[` + strings.TrimSuffix(strings.Repeat(`"`+d.String()+`",`, 100), ",") + `]}`,
		"a layer that is a path": `{"key":"` + key + `","content":"` + key + `","layers":["../x"]}`,
	} {
		text := strings.Replace(good, `"reads":[`, `"reads":[`+one+`,`, 1)
		x, dropped, err := Decode([]byte(text))
		if err != nil || dropped != 1 || len(x.Reads) != 1 {
			t.Errorf("read %s: %d reads, %d dropped, %v", name, len(x.Reads), dropped, err)
		}
	}
	// The chain of a record is that of its layer on the one below, whatever is said: no record leads back to what it is on.
	cycle := strings.Replace(good, `"records":[`, `"records":[{"key":"`+key+`","below":"`+d.String()+`","chain":"`+d.String()+`","diff":"`+recordstest.Digest(2).String()+`","created":"2026-01-01T00:00:00Z"},`, 1)
	x, _, err := Decode([]byte(cycle))
	if err != nil || len(x.Records) != 2 || slices.ContainsFunc(x.Records, func(r records.Record) bool { return r.Chain == r.Below }) {
		t.Errorf("a cycle: %+v, %v", x.Records, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, example(3)))
	f.Add([]byte(`{"version":1,"records":[{"key":"a"}],"reads":[{}],"layers":["x"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, _, err := Decode(raw)
		if err != nil {
			return
		}
		for _, r := range x.Records {
			if err := r.Check(); err != nil {
				t.Error(err)
			}
		}
		for _, r := range x.Reads {
			if err := r.Check(); err != nil {
				t.Error(err)
			}
		}
		x.Layers = nil
		if raw, err := x.Encode(); err == nil {
			if again, dropped, err := Decode(raw); err != nil || dropped > 0 || len(again.Records) > len(x.Records) {
				t.Errorf("decoded again: %d, %v", dropped, err)
			}
		}
	})
}

// things is a Place in memory.
type things map[string][]byte

func (p things) Get(_ context.Context, name string) (io.ReadCloser, error) {
	raw, has := p[name]
	if !has {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

func (p things) Has(_ context.Context, name string) (bool, error) { return p[name] != nil, nil }

func (p things) Put(_ context.Context, name string, _ int64, content io.Reader) (err error) {
	p[name], err = io.ReadAll(content)
	return err
}

// endless is a Place whose blobs are longer than what anybody should read.
type endless struct{ things }

func (p endless) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == ManifestName {
		return p.things.Get(ctx, name)
	}
	return io.NopCloser(io.LimitReader(zeros{}, 200<<20)), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func allow(context.Context, types.UnparsedImage) error { return nil }

// opened opens a cache of a manifest and blobs.
func openedOf(t *testing.T, manifest any, blobs ...[]byte) (Content, error) {
	t.Helper()
	p := things{}
	raw, is := manifest.([]byte)
	if !is {
		var err error
		if raw, err = json.Marshal(manifest); err != nil {
			t.Fatal(err)
		}
	}
	p[ManifestName] = raw
	for _, b := range blobs {
		p[digest.FromBytes(b).String()] = b
	}
	return Open(t.Context(), Source(p, At{Layout: "test"}), allow)
}

func descriptor(mediaType string, raw []byte) imgspec.Descriptor {
	return imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

// A manifest that is none, or lies of what it has, is an error, and takes neither memory nor time.
func TestHostileManifest(t *testing.T) {
	// Not beside others, whose memory would count.
	x := example(2)
	layer := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayerGzip, Digest: recordstest.Digest(9), Size: 5}
	x.Layers = []digest.Digest{recordstest.Digest(1)}
	raw, config, err := Manifest(x, []imgspec.Descriptor{layer})
	if err != nil {
		t.Fatal(err)
	}
	c, err := openedOf(t, raw, config)
	if err != nil || len(c.Records) != 2 || c.Offers[recordstest.Digest(1)].Digest != layer.Digest || c.Digest != digest.FromBytes(raw) {
		t.Fatalf("%+v, %v", c, err)
	}
	changed := func(change func(m *imgspec.Manifest)) imgspec.Manifest {
		var m imgspec.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		return m
	}
	empty := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	inlined := []byte(`{"rootfs":{"diff_ids":["x"]},"oakum.cache":` + string(encoded(t, example(1))) + `}`)
	for name, m := range map[string]any{
		"nothing": []byte{}, "no JSON": []byte("manifest"), "cut short": raw[:len(raw)-10], "a hundred megabytes": bytes.Repeat([]byte(" "), 100<<20),
		"without records":         changed(func(m *imgspec.Manifest) { m.Config = descriptor(ConfigType, []byte("other")) }),
		"a path for its records":  changed(func(m *imgspec.Manifest) { m.Config.Digest = "sha256:../../../../etc/passwd" }),
		"records of another size": changed(func(m *imgspec.Manifest) { m.Config.Size-- }),
		"records without end":     changed(func(m *imgspec.Manifest) { m.Config.Size = 1 << 40 }),
		"records below 0":         changed(func(m *imgspec.Manifest) { m.Config.Size = -1 }),
		"more layers":             changed(func(m *imgspec.Manifest) { m.Layers = append(m.Layers, layer) }),
		"an image without":        changed(func(m *imgspec.Manifest) { m.Config, m.Layers = descriptor(imgspec.MediaTypeImageConfig, empty), nil }),
		"another artifact":        changed(func(m *imgspec.Manifest) { m.Config.MediaType = "application/x" }),
		"an image of more layers": changed(func(m *imgspec.Manifest) {
			m.Config, m.Layers = descriptor(imgspec.MediaTypeImageConfig, inlined), append(m.Layers, layer)
		}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := openedOf(t, m, config, empty, inlined)
		runtime.ReadMemStats(&after)
		if err == nil || len(c.Records) > 0 {
			t.Errorf("%s: %d records, %v", name, len(c.Records), err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Errorf("%s: took %d bytes", name, took)
		}
	}
	// What is offered under a name that is none, or as no layer, is not offered.
	for name, m := range map[string]imgspec.Manifest{
		"a path":         changed(func(m *imgspec.Manifest) { m.Layers[0].Digest = "sha256:../../x" }),
		"a size below 0": changed(func(m *imgspec.Manifest) { m.Layers[0].Size = -1 }),
		"no layer":       changed(func(m *imgspec.Manifest) { m.Layers[0].MediaType = "text/html" }),
	} {
		if c, err := openedOf(t, m, config); err != nil || len(c.Offers) > 0 || len(c.Records) != 2 {
			t.Errorf("%s: %+v, %v", name, c.Offers, err)
		}
	}
	long := changed(func(m *imgspec.Manifest) {
		m.Config = imgspec.Descriptor{MediaType: ConfigType, Digest: recordstest.Digest(5), Size: 1 << 40}
	})
	text, err := json.Marshal(long)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Open(t.Context(), Source(endless{things{ManifestName: text}}, At{}), allow); !errors.Is(err, ErrInvalid) {
		t.Errorf("records that do not end: %v", err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("records that do not end: took %d bytes", took)
	}
	refused := errors.New("refused")
	if _, err := Open(t.Context(), Source(things{ManifestName: raw}, At{}), func(context.Context, types.UnparsedImage) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("what may not be used: %v", err)
	}
}

// blobsIn are the files of a layout's blobs.
func blobsIn(t *testing.T, dir string) int {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(dir, blobsDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A layout has caches by their tags, each put in place of the one before as a whole, beside the images of others.
func TestLayout(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "layout")
	put := func(tag string, layers ...string) {
		t.Helper()
		l, err := OpenLayout(dir, tag, true)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var all []imgspec.Descriptor
		x := example(1)
		for i, text := range layers {
			d := descriptor(imgspec.MediaTypeImageLayer, []byte(text))
			if err := l.Put(t.Context(), d.Digest.String(), d.Size, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			all, x.Layers = append(all, d), append(x.Layers, recordstest.Digest(i))
		}
		raw, config, err := Manifest(x, all)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(l.Put(t.Context(), digest.FromBytes(config).String(), int64(len(config)), bytes.NewReader(config)), l.Put(t.Context(), ManifestName, int64(len(raw)), bytes.NewReader(raw)))
		if err != nil {
			t.Fatal(err)
		}
	}
	got := func(tag string) (int, error) {
		l, err := OpenLayout(dir, tag, false)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		c, err := Open(t.Context(), Source(l, At{Layout: dir, Tag: tag}), allow)
		return len(c.Offers), err
	}
	if _, err := got(""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	put("", "a", "b")
	put("other", "b", "c", "d")
	if n := blobsIn(t, dir); n != 4+2+2 {
		t.Errorf("%d blobs", n)
	}
	for tag, want := range map[string]int{"": 2, "latest": 2, "other": 3} {
		if n, err := got(tag); n != want || err != nil {
			t.Errorf("%q: %d layers, %v", tag, n, err)
		}
	}
	if _, err := got("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tag that is not there: %v", err)
	}
	put("", "b", "e") // a goes, b stays
	if n := blobsIn(t, dir); n != 4+2+2 {
		t.Errorf("%d blobs after a cache was replaced", n)
	}
	// What nobody can say of another's entry keeps everything.
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := strings.Replace(string(raw), `"manifests":[`, `"manifests":[{"mediaType":"application/x","digest":"`+recordstest.Digest(7).String()+`","size":1},`, 1)
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(foreign), 0o644); err != nil {
		t.Fatal(err)
	}
	put("", "f")
	if n := blobsIn(t, dir); n != 4+2+2+3 {
		t.Errorf("%d blobs beside what is not known", n)
	}
	if raw, err = os.ReadFile(filepath.Join(dir, "index.json")); err != nil || !strings.Contains(string(raw), recordstest.Digest(7).String()) {
		t.Errorf("another's entry is gone: %s, %v", raw, err)
	}
}

// Nothing leads out of a layout, and no part of a blob stays.
func TestHostileLayout(t *testing.T) {
	t.Parallel()
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLayout(dir, "", true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := digest.FromString("secret")
	if err := os.Symlink(secret, filepath.Join(dir, blobsDir, d.Encoded())); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, blobsDir, recordstest.Digest(1).Encoded()), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{d.String(), recordstest.Digest(1).String(), "../../secret", "sha256:../../secret", "", "index.json"} {
		if f, err := l.Get(t.Context(), name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	broken := errors.New("broken")
	for name, content := range map[string]io.Reader{"fails": io.MultiReader(strings.NewReader("some"), failing{broken}), "is another": strings.NewReader("other")} {
		if err := l.Put(t.Context(), recordstest.Digest(2).String(), 5, content); err == nil {
			t.Errorf("what %s was kept", name)
		}
	}
	if has, err := l.Has(t.Context(), recordstest.Digest(2).String()); has || err != nil {
		t.Errorf("it is there: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(dir, blobsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if strings.HasPrefix(f.Name(), ".") {
			t.Errorf("left: %s", f.Name())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), bytes.Repeat([]byte(" "), 100<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Get(t.Context(), ManifestName); !errors.Is(err, ErrInvalid) {
		t.Errorf("an index.json of 100 MB: %v", err)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// A place is named in one way, and called by it.
func TestAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   At
		is   string
		good bool
	}{
		{At{}, "a place of the program's", false},
		{At{Ref: "r.example/a:b"}, "r.example/a:b", true},
		{At{Ref: "a", Layout: "b"}, "a", false},
		{At{Layout: "dir"}, "dir:latest", true},
		{At{Layout: "dir", Tag: "t"}, "dir:t", true},
		{At{Ref: "a", Tag: "t"}, "a", false},
		{At{Place: things{}}, "a place of the program's", true},
		{At{Asked: "1"}, "a place of the program's", true},
		{At{Asked: "1", Called: "type=x"}, "type=x", true},
	} {
		if err := c.at.Check(); (err == nil) != c.good || err != nil && !errors.Is(err, ErrInvalid) || c.at.String() != c.is {
			t.Errorf("%+v is %q, %v", c.at, c.at, err)
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	all := []At{{Ref: "a"}, {Ref: "b"}, {Layout: "a"}, {Layout: "a", Tag: "t"}, {Layout: "b", Tag: "t"}, {Asked: "1"}, {Asked: "2"}}
	for i, a := range all {
		for j, b := range all {
			if a.Same(b) != (i == j) {
				t.Errorf("%+v and %+v: %v", a, b, a.Same(b))
			}
		}
	}
	if !(At{Layout: "a"}).Same(At{Layout: "a", Tag: "latest"}) {
		t.Error("a layout without a tag is another than that with its default")
	}
}
