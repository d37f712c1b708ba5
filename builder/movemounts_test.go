//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/builder/push"
	"github.com/oakum-build/oakum/builder/usage"
	"github.com/oakum-build/oakum/hack/chaos"
)

// plainHTTP reaches registries of tests.
func plainHTTP() builder.Registry {
	no := false
	return builder.Registry{TLSVerify: &no}
}

func cacheAt(id string) builder.Mount {
	return builder.Mount{Target: "/c", Cache: &mount.Cache{ID: id}}
}

const fillCache = `cd /c && echo text >f && chmod 640 f && chown 7:8 f && ln f hard && ln -s /etc/passwd out && mkdir -p d/empty && chmod 1750 d && chown 33:33 d && mkfifo p && printf '\377' >"$(printf 'n\377')" && touch -d '2001-02-03 04:05:06' f && echo s >s && chmod 4755 s`

const shownCache = `cd /c && find . -exec stat -c '%F %a %u:%g %h %n' {} + | sort -k 6 && stat -c %Y f && readlink out && cat f`

// What commands left in caches comes to another store whole: through an archive, a layout and a registry.
func TestMountsTravel(t *testing.T) {
	t.Parallel()
	a := open(t)
	s := base(t, a)
	with(t, s, fillCache, builder.Mount{Target: "/c", Cache: &mount.Cache{ID: "../../x\n", Mode: os.ModeSticky | 0o770, UID: 1000, GID: 7}})
	with(t, s, "echo second >/c/f", cacheAt("/root/.cache"))
	with(t, s, "cat /c/first >/c/f", builder.Mount{Target: "/c", From: builder.Dir(tree(t, map[string]string{"first": "1"})), Cache: &mount.Cache{ID: "from"}})
	want, _ := with(t, s, shownCache, cacheAt("../../x\n"))

	r := chaos.New(t)
	layout := filepath.Join(t.TempDir(), "layout")
	place := &memoryPlace{has: map[string][]byte{}}
	var archive bytes.Buffer
	for where, what := range map[string]mount.Export{
		"registry": {To: cache.At{Ref: r.Host + "/app/caches:1"}}, "layout": {To: cache.At{Layout: layout, Tag: "x:1"}}, "place": {To: cache.At{Place: place}}, "archive": {Archive: &archive},
	} {
		moved, err := a.ExportMounts(t.Context(), what, builder.PushOptions{Registry: plainHTTP()})
		if err != nil || len(moved) != 3 || moved[0].ID != "../../x\n" || moved[1].ID != "/root/.cache" || moved[2].ID != "from" || moved[2].First == "" {
			t.Fatalf("%s: %+v, %v", where, moved, err)
		}
	}
	for where, what := range map[string]mount.Import{
		"registry": {From: cache.At{Ref: r.Host + "/app/caches:1"}}, "layout": {From: cache.At{Layout: layout, Tag: "x:1"}}, "place": {From: cache.At{Place: place}},
		"archive": {Archive: bytes.NewReader(archive.Bytes())}, "file": {Archive: fileOf(t, archive.Bytes())},
	} {
		t.Run(where, func(t *testing.T) {
			b := open(t)
			moved, err := b.ImportMounts(t.Context(), what, builder.PullOptions{Registry: plainHTTP()})
			if err != nil || len(moved) != 3 || moved[0].Kept {
				t.Fatalf("%+v, %v", moved, err)
			}
			s := base(t, b)
			got, _ := with(t, s, shownCache, cacheAt("../../x\n"))
			equal(t, got, want)
			got, _ = with(t, s, "cat /c/f", cacheAt("/root/.cache"))
			equal(t, got, "second\n")
			got, _ = with(t, s, "cat /c/f", builder.Mount{Target: "/c", From: builder.Dir(tree(t, map[string]string{"first": "1"})), Cache: &mount.Cache{ID: "from"}})
			equal(t, got, "1")
			p, err := b.Prune(t.Context(), usage.Options{})
			if err != nil || p.Caches != 3 {
				t.Errorf("pruned %+v, %v", p, err)
			}
		})
	}

	// The same caches are not sent again, whatever else has changed.
	r.Break()
	with(t, s, "echo more >/c/more", cacheAt("/root/.cache"))
	_, err := a.ExportMounts(t.Context(), mount.Export{To: cache.At{Ref: r.Host + "/app/caches:1"}, IDs: []string{"../../x\n", "/root/.cache"}}, builder.PushOptions{Registry: plainHTTP()})
	ok(t, err)
	if puts := len(r.Requests("PUT /v2/app/caches/blobs")); puts != 2 { // the changed one, and the configuration
		t.Errorf("%d blobs were sent", puts)
	}
}

// A cache that is here stays, unless it is to be replaced, and one that is not named is left alone.
func TestMountsChosen(t *testing.T) {
	t.Parallel()
	a, b := open(t), open(t)
	var nothing bytes.Buffer
	_, err := a.ExportMounts(t.Context(), mount.Export{Archive: &nothing}, builder.PushOptions{})
	is(t, err, builder.ErrNotFound)
	s := base(t, a)
	for _, id := range []string{"one", "two"} {
		with(t, s, "echo travelled >/c/f", cacheAt(id))
	}
	_, err = a.ExportMounts(t.Context(), mount.Export{Archive: &nothing, IDs: []string{"one", "none"}}, builder.PushOptions{})
	is(t, err, builder.ErrNotFound)
	for _, what := range []mount.Export{{}, {To: cache.At{Layout: "/x"}, Archive: &nothing}, {To: cache.At{Ref: "docker-archive:/x"}}} {
		if _, err := a.ExportMounts(t.Context(), what, builder.PushOptions{}); err == nil {
			t.Errorf("%+v was done", what)
		}
	}
	archives := map[string][]byte{}
	for _, by := range []string{"zstd", "gzip", "uncompressed"} {
		var out bytes.Buffer
		moved, err := a.ExportMounts(t.Context(), mount.Export{Archive: &out}, builder.PushOptions{Compression: push.Compression{Algorithm: by}})
		if err != nil || len(moved) != 2 {
			t.Fatalf("%+v, %v", moved, err)
		}
		archives[by] = out.Bytes()
	}
	here := base(t, b)
	with(t, here, "echo here >/c/f", cacheAt("one"))
	in := func(what mount.Import) string {
		t.Helper()
		moved, err := b.ImportMounts(t.Context(), what, builder.PullOptions{})
		ok(t, err)
		return fmt.Sprint(len(moved), moved[0].Kept)
	}
	equal(t, in(mount.Import{Archive: bytes.NewReader(archives["zstd"]), IDs: []string{"one"}}), "1 true")
	got, _ := with(t, here, "cat /c/f", cacheAt("one"))
	equal(t, got, "here\n")
	if _, err := b.ImportMounts(t.Context(), mount.Import{Archive: bytes.NewReader(archives["zstd"]), IDs: []string{"three"}}, builder.PullOptions{}); !errors.Is(err, builder.ErrNotFound) {
		t.Error(err)
	}
	equal(t, in(mount.Import{Archive: bytes.NewReader(archives["gzip"]), IDs: []string{"one"}, Replace: true}), "1 false")
	got, _ = with(t, here, "cat /c/*; ls /c", cacheAt("one"))
	equal(t, got, "travelled\nf\n")
	got, _ = with(t, here, "ls /c", cacheAt("two"))
	equal(t, got, "")
	equal(t, in(mount.Import{Archive: bytes.NewReader(archives["uncompressed"]), Replace: true}), "2 false")
	got, _ = with(t, here, ": again; cat /c/f", cacheAt("two"))
	equal(t, got, "travelled\n")
}

// A cache that a command has is waited for, whatever its sharing is, so that no half of a file travels, and none
// is put under a command.
func TestMountsWait(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{}, 10)
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		if e.Kind == event.Warning && strings.Contains(e.Text, `waiting for the cache "l"`) {
			waiting <- struct{}{}
		}
	}})
	s := base(t, b)
	var archive bytes.Buffer
	for _, how := range []mount.Sharing{mount.Shared, mount.Locked} {
		shared := builder.Mount{Target: "/c", Cache: &mount.Cache{ID: "l", Sharing: how}}
		// A command writes one half, and the other when it is told to.
		done := make(chan error, 1)
		hold := func(text string) (release func()) {
			reads, writes, err := os.Pipe()
			ok(t, err)
			told, tell, err := os.Pipe()
			ok(t, err)
			ran := make(chan error, 1)
			go func() {
				_, err := fork(t, s).Run(t.Context(), builder.Cmd{
					Args:   []string{"sh", "-c", fmt.Sprintf("cd /c && echo half >f && echo && read line && echo %s >>f; : %s", text, how)},
					Mounts: []builder.Mount{shared}, Stdin: told, Stdout: writes,
				})
				ran <- err
			}()
			_, err = reads.Read(make([]byte, 1))
			ok(t, err)
			return func() {
				select {
				case <-waiting:
				case err := <-done:
					t.Errorf("the command was not waited for: %v", err)
					done <- err
				}
				_, err := tell.WriteString("go\n")
				ok(t, errors.Join(err, <-ran, reads.Close(), writes.Close(), told.Close(), tell.Close()))
			}
		}
		archive.Reset()
		release := hold("whole")
		go func() {
			_, err := b.ExportMounts(t.Context(), mount.Export{Archive: &archive}, builder.PushOptions{})
			done <- err
		}()
		release()
		ok(t, <-done)
		release = hold("lost")
		go func() {
			_, err := b.ImportMounts(t.Context(), mount.Import{Archive: bytes.NewReader(archive.Bytes()), Replace: true}, builder.PullOptions{})
			done <- err
		}()
		release()
		ok(t, <-done)
		got, _ := with(t, s, "cat /c/f; : "+string(how), shared)
		equal(t, got, "half\nwhole\n")
	}
}

// mountsOf makes an artifact as ExportMounts does, of what somebody says.
func mountsOf(t testing.TB, r *chaos.Registry, config any, blobs ...[]byte) (imgspec.Manifest, []byte) {
	t.Helper()
	text, isText := config.([]byte)
	if !isText {
		var err error
		text, err = json.Marshal(config)
		ok(t, err)
	}
	m := imgspec.Manifest{
		Versioned: specVersion, MediaType: imgspec.MediaTypeImageManifest, ArtifactType: "application/vnd.oakum.cache-mounts.v1",
		Config: imgspec.Descriptor{MediaType: "application/vnd.oakum.cache-mounts.config.v1+json", Digest: r.PutBlob("c", text), Size: int64(len(text))},
	}
	for _, b := range blobs {
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayer, Digest: r.PutBlob("c", b), Size: int64(len(b))})
	}
	return m, text
}

// Caches of somebody who means harm are refused, or do none: nothing is made outside of the cache, and nothing of
// what is refused is there.
func TestMountsHostile(t *testing.T) {
	eachWorker(t, func(t *testing.T, b *builder.Builder) {
		r := chaos.New(t)
		outside := filepath.Join(t.TempDir(), "outside")
		file := func(name, text string) tar.Header {
			return tar.Header{Name: name, Typeflag: tar.TypeReg, Linkname: text}
		}
		good := tarOf(t, file("f", "x"))
		type said = map[string]any
		caches := func(c ...said) map[string]any { return map[string]any{"caches": c} }
		one := func(size int) map[string]any { return caches(said{"id": "x", "mode": 0o755, "size": size}) }
		many := make([]said, 5000)
		for i := range many {
			many[i] = said{"id": fmt.Sprint(i), "mode": 0o755, "size": 1}
		}
		changed := func(change func(m *imgspec.Manifest)) imgspec.Manifest {
			m, _ := mountsOf(t, r, one(len(good)), good)
			change(&m)
			return m
		}
		of := func(config any, blobs ...[]byte) imgspec.Manifest {
			m, _ := mountsOf(t, r, config, blobs...)
			return m
		}
		zeros := make([]byte, 64<<10)
		for name, test := range map[string]struct {
			m    imgspec.Manifest
			says string
		}{
			"an image":           {changed(func(m *imgspec.Manifest) { m.ArtifactType = "" }), "was looked for"},
			"another artifact":   {changed(func(m *imgspec.Manifest) { m.ArtifactType = "application/x" }), "was looked for"},
			"another config":     {changed(func(m *imgspec.Manifest) { m.Config.MediaType = imgspec.MediaTypeImageConfig }), "configuration is of the type"},
			"a config of 100 MB": {changed(func(m *imgspec.Manifest) { m.Config.Size = 100 << 20 }), "the list of the caches"},
			"a negative config":  {changed(func(m *imgspec.Manifest) { m.Config.Size = -1 }), "the list of the caches"},
			"a config of a path": {changed(func(m *imgspec.Manifest) { m.Config.Digest = "sha256:../../../x" }), "digest"},
			"a shorter config":   {changed(func(m *imgspec.Manifest) { m.Config.Size-- }), "more bytes than"},
			"no JSON":            {of([]byte("{"), good), "list of the caches"},
			"one blob too many":  {of(one(len(good)), good, good), "2 blobs"},
			"no blob":            {of(one(len(good))), "0 blobs"},
			"the same twice":     {of(caches(said{"id": "x", "mode": 0o755, "size": 1}, said{"id": "x", "mode": 0o755, "size": 1}), good, good), "twice"},
			"too many":           {of(caches(many...)), "number of caches"},
			"a device as mode":   {of(caches(said{"id": "x", "mode": 0o60644, "size": 1}), good), "its mode"},
			"a negative owner":   {of(caches(said{"id": "x", "mode": 0o755, "uid": -1, "size": 1}), good), "its owner"},
			"a strange owner":    {of(caches(said{"id": "x", "mode": 0o755, "uid": 4000000000, "size": 1}), good), "4000000000"},
			"a negative size":    {of(one(-1), good), "its tar has"},
			"a blob of a path":   {changed(func(m *imgspec.Manifest) { m.Layers[0].Digest = "sha256:" + "../../../../etc/passwd" }), "digest"},
			"another blob":       {changed(func(m *imgspec.Manifest) { m.Layers[0].Digest = digest.FromBytes([]byte("other")) }), ""},
			"a shorter blob":     {changed(func(m *imgspec.Manifest) { m.Layers[0].Size-- }), "more bytes than"},
			"a negative blob":    {changed(func(m *imgspec.Manifest) { m.Layers[0].Size = -1 }), "negative"},
			"half a tar":         {of(one(len(good)), good[:512]), "unpacking"},
			"no room":            {of(one(1<<50), good), "has room for no more"},
			"more than it says":  {of(one(1024), tarOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Linkname: string(zeros)})), "content of the files"},
			"more files":         {of(one(512), tarOf(t, file("a", ""), file("b", ""), file("c", ""))), "number of files"},
			"up and out":         {of(one(9999), tarOf(t, file("../../../../../../../.."+outside, "x"), tar.Header{Name: "f", Typeflag: tar.TypeBlock + 50})), "type"},
			"through a link":     {of(one(9999), tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(outside)}, file("l/outside", "x"), tar.Header{Name: "f", Typeflag: tar.TypeBlock + 50})), "type"},
			"a link outside":     {of(one(9999), tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"})), ""},
		} {
			if name == "a strange owner" && os.Geteuid() == 0 {
				continue // root of the machine has all ids
			}
			raw, err := json.Marshal(test.m)
			ok(t, err)
			r.PutManifest("c", "x", imgspec.MediaTypeImageManifest, raw)
			moved, err := b.ImportMounts(t.Context(), mount.Import{From: cache.At{Ref: r.Host + "/c:x"}}, builder.PullOptions{Registry: plainHTTP()})
			if err == nil || len(moved) != 0 || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %+v, %v, want %q", name, moved, err, test.says)
			}
			if _, err := os.Lstat(outside); err == nil {
				t.Fatalf("%s made a file outside", name)
			}
		}
		p, err := b.Prune(t.Context(), usage.Options{})
		if err != nil || p.Caches != 0 {
			t.Errorf("of what was refused there is %+v, %v", p, err)
		}
		// What of them would do no harm does none.
		m := of(caches(said{"id": "../../../../" + outside, "mode": 0o4777, "size": 9999}), tarOf(t, file("../../../../.."+outside, "x"), tar.Header{Name: "/dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, file("f", "x")))
		raw, err := json.Marshal(m)
		ok(t, err)
		r.PutManifest("c", "x", imgspec.MediaTypeImageManifest, raw)
		if _, err := b.ImportMounts(t.Context(), mount.Import{From: cache.At{Ref: r.Host + "/c:x"}}, builder.PullOptions{Registry: plainHTTP()}); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(outside); err == nil {
			t.Error("a file was made outside")
		}
	})
}

// Errors say what is wrong by their kind.
func TestMountsErrors(t *testing.T) {
	t.Parallel()
	b, r := open(t), chaos.New(t)
	pull := builder.PullOptions{Registry: plainHTTP()}
	_, err := b.ImportMounts(t.Context(), mount.Import{From: cache.At{Ref: r.Host + "/none:x"}}, pull)
	is(t, err, builder.ErrImageNotFound)
	_, err = b.ImportMounts(t.Context(), mount.Import{From: cache.At{Layout: filepath.Join(t.TempDir(), "none")}}, pull)
	is(t, err, builder.ErrImageNotFound)
	_, err = b.ImportMounts(t.Context(), mount.Import{From: cache.At{Place: &memoryPlace{}}}, pull)
	is(t, err, builder.ErrImageNotFound)
	for name, archive := range map[string][]byte{"nothing": nil, "no tar": []byte("what is this"), "no layout": tarOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg})} {
		if _, err := b.ImportMounts(t.Context(), mount.Import{Archive: bytes.NewReader(archive)}, pull); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	m, _ := mountsOf(t, r, map[string]any{"caches": []any{}})
	m.ArtifactType = "application/x"
	raw, err := json.Marshal(m)
	ok(t, err)
	r.PutManifest("c", "x", imgspec.MediaTypeImageManifest, raw)
	_, err = b.ImportMounts(t.Context(), mount.Import{From: cache.At{Ref: r.Host + "/c:x"}}, pull)
	is(t, err, builder.ErrInvalid)
	m, _ = mountsOf(t, r, map[string]any{"caches": []map[string]any{{"id": "x", "mode": 0o755, "size": 1}}}, tarOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Linkname: strings.Repeat("x", 9000)}))
	raw, err = json.Marshal(m)
	ok(t, err)
	r.PutManifest("c", "x", imgspec.MediaTypeImageManifest, raw)
	_, err = b.ImportMounts(t.Context(), mount.Import{From: cache.At{Ref: r.Host + "/c:x"}}, pull)
	if !limits.IsLimit(err) {
		t.Error(err)
	}
	// A registry that fails for a while is asked again, and what came halfway is no cache.
	a := open(t)
	with(t, base(t, a), "head -c 3000000 /dev/urandom >/c/f", cacheAt("x"))
	_, err = a.ExportMounts(t.Context(), mount.Export{To: cache.At{Ref: r.Host + "/good:x"}}, builder.PushOptions{Registry: plainHTTP()})
	ok(t, err)
	d := openIn(t, builder.Options{Root: tempDir(t), RetryDelay: 1})
	r.Break(chaos.Rule{Of: "GET /v2/good/blobs", Skip: 1, Times: 2, Fault: chaos.Reset(1000000)})
	moved, err := d.ImportMounts(t.Context(), mount.Import{From: cache.At{Ref: r.Host + "/good:x"}}, pull)
	if err != nil || len(moved) != 1 {
		t.Errorf("%+v, %v", moved, err)
	}
	got, _ := with(t, base(t, d), "wc -c </c/f", cacheAt("x"))
	equal(t, got, "3000000\n")
	p, err := d.Prune(t.Context(), usage.Options{})
	if err != nil || p.Caches != 1 {
		t.Errorf("there are %+v, %v", p, err)
	}
}
