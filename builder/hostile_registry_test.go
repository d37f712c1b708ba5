//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
)

var specVersion = specs.Versioned{SchemaVersion: 2}

// Digests become paths and requests, so only those that are digests are taken (CVE-2024-3727).
func TestHostileDigests(t *testing.T) {
	t.Parallel()
	host := victim(t)
	b := open(t)
	honest, err := tampered(t, b, func(string) {})
	ok(t, err)
	ok(t, use(t, b, honest.ID))
	for _, bad := range []string{
		"sha256:../../x", "sha256:" + up + host + "/marker", "sha256:", "", "sha256", "md5:d41d8cd98f00b204e9800998ecf8427e", "../../x",
		"sha512:abc", "sha256:" + strings.Repeat("0", 63), "sha256:" + strings.Repeat("G", 64), "sha256:" + strings.Repeat("a", 64) + "/..",
	} {
		for where, set := range map[string]func(*layout){
			"layer":  func(l *layout) { l.manifest.Layers[0].Digest = digest.Digest(bad); l.save() },
			"config": func(l *layout) { l.manifest.Config.Digest = digest.Digest(bad); l.save() },
			"index": func(l *layout) {
				l.index.Manifests[0].Digest = digest.Digest(bad)
				data, err := json.Marshal(l.index)
				ok(t, err)
				ok(t, os.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644))
			},
		} {
			img, err := tampered(t, b, func(dir string) { set(openLayout(t, dir)) })
			if err == nil {
				t.Errorf("%s %q: pulled as %s", where, bad, img.ID)
			} else if !strings.Contains(err.Error(), "digest") {
				t.Errorf("%s %q: %v", where, bad, err)
			}
			if errors.Is(err, builder.ErrClosed) {
				t.Fatal("the worker is dead")
			}
		}
	}
}

// A manifest that is an index, too, is another image to who reads it as that (CVE-2021-41190).
func TestAmbiguousManifests(t *testing.T) {
	t.Parallel()
	b := open(t)
	for name, change := range map[string]func(map[string]any){
		"both": func(m map[string]any) {
			m["manifests"] = []any{map[string]any{"digest": m["config"].(map[string]any)["digest"]}}
		},
		"called index": func(m map[string]any) { m["mediaType"] = imgspec.MediaTypeImageIndex },
		"called list":  func(m map[string]any) { m["mediaType"] = "application/vnd.docker.distribution.manifest.list.v2+json" },
		"old and new": func(m map[string]any) {
			m["fsLayers"] = []any{map[string]any{"blobSum": "sha256:" + strings.Repeat("0", 64)}}
		},
		"no JSON":       nil,
		"honest really": func(map[string]any) {},
	} {
		_, err := tampered(t, b, func(dir string) {
			l := openLayout(t, dir)
			data := []byte("{")
			if change != nil {
				var m map[string]any
				l.read(l.blob(l.index.Manifests[0].Digest), &m)
				change(m)
				var err error
				data, err = json.Marshal(m)
				ok(t, err)
			}
			l.index.Manifests[0].Digest, l.index.Manifests[0].Size = l.write(data)
			data, err := json.Marshal(l.index)
			ok(t, err)
			ok(t, os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644))
		})
		if honest := name == "honest really"; honest != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Paths in a docker-archive are those of its entries, and no others.
func TestHostileDockerArchives(t *testing.T) {
	t.Parallel()
	host := victim(t)
	layer := string(tarOf(t, tar.Header{Name: "honest", Typeflag: tar.TypeReg, Linkname: "h"}))
	config := `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + digest.FromString(layer).String() + `"]}}`
	file := func(name, content string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Linkname: content}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	manifest := func(config, layer string) tar.Header {
		data, err := json.Marshal([]map[string]any{{"Config": config, "Layers": []string{layer}}})
		ok(t, err)
		return file("manifest.json", string(data))
	}
	marker := up + host + "/marker"
	for name, entries := range map[string][]tar.Header{
		"honest":             {file("c.json", config), file("l.tar", layer), manifest("c.json", "l.tar")},
		"config outside":     {file("l.tar", layer), manifest(marker, "l.tar")},
		"config absolute":    {file("l.tar", layer), manifest(host+"/marker", "l.tar")},
		"layer outside":      {file("c.json", config), manifest("c.json", marker)},
		"layer is a link":    {file("c.json", config), link("l.tar", host+"/marker"), manifest("c.json", "l.tar")},
		"config is a link":   {link("c.json", marker), file("l.tar", layer), manifest("c.json", "l.tar")},
		"manifest is a link": {link("manifest.json", marker)},
		"links in a circle":  {file("c.json", config), link("l.tar", "m.tar"), link("m.tar", "l.tar"), manifest("c.json", "l.tar")},
		"no manifest":        {file("c.json", config)},
		"null":               {file("manifest.json", "null")},
	} {
		b := open(t) // a layer that is there is not read
		path := filepath.Join(t.TempDir(), "a.tar")
		ok(t, os.WriteFile(path, tarOf(t, entries...), 0o644))
		within(t, time.Minute, func() {
			img, err := b.Pull(t.Context(), "docker-archive:"+path, builder.PullOptions{})
			if honest := name == "honest"; honest != (err == nil) {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v has the secret", name, err)
			}
			if err == nil {
				to := base(t, b)
				ok(t, errOf(to.Copy(t.Context(), "/x", stage(t, b, img.ID, builder.StageOptions{}).Path("/honest"))))
				equal(t, sh(t, to, "cat /x"), "h")
			}
			if errors.Is(err, builder.ErrClosed) {
				t.Fatal("the worker is dead")
			}
		})
	}
}

// A registry that never stops to send a manifest or configuration gets no memory for it.
func TestEndlessManifests(t *testing.T) {
	t.Parallel()
	b := open(t)
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Labels":{"x":"`)
	manifest, err := json.Marshal(imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Versioned: specVersion, Config: imgspec.Descriptor{
		MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: 1 << 40}})
	ok(t, err)
	endless := func(w http.ResponseWriter, start []byte) {
		_, err := w.Write(start)
		for block := bytes.Repeat([]byte("x"), 1<<20); err == nil; {
			_, err = w.Write(block)
		}
	}
	for name, serve := range map[string]http.HandlerFunc{
		"manifest": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", imgspec.MediaTypeImageManifest)
			endless(w, []byte(`{"schemaVersion":2,"annotations":{"x":"`))
		},
		"config": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				endless(w, config)
				return
			}
			w.Header().Set("Content-Type", imgspec.MediaTypeImageManifest)
			_, _ = w.Write(manifest)
		},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				serve(w, r)
			}
		}))
		within(t, 2*time.Minute, func() {
			_, err := b.Pull(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/x:1", builder.PullOptions{Registry: builder.Registry{TLSVerify: new(bool)}})
			is(t, err, builder.ErrRegistry)
			if err != nil && !strings.Contains(err.Error(), "exceeded maximum allowed size") {
				t.Errorf("%s: %v", name, err)
			}
		})
		server.Close()
	}
}

// What an image says of its history is no key of the cache (CVE-2024-24557).
func TestHistoryIsNoCache(t *testing.T) {
	t.Parallel()
	b := open(t)
	honest := base(t, b)
	run(t, honest, "echo honest >/made")
	_, err := honest.Commit(t.Context(), "localhost/honest", builder.CommitOptions{})
	ok(t, err)
	other := open(t)
	dir := filepath.Join(t.TempDir(), "image")
	_, err = b.Push(t.Context(), "localhost/honest", "oci:"+dir+":x", builder.PushOptions{})
	ok(t, err)
	l := openLayout(t, dir)
	var config imgspec.Image
	l.read(l.blob(l.manifest.Config.Digest), &config)
	l.manifest.Layers = l.manifest.Layers[:len(l.manifest.Layers)-1]
	config.RootFS.DiffIDs = config.RootFS.DiffIDs[:len(config.RootFS.DiffIDs)-1]
	evil := tarOf(t, tar.Header{Name: "made", Typeflag: tar.TypeReg, Linkname: "evil\n"})
	d, size := l.write(evil)
	l.manifest.Layers = append(l.manifest.Layers, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayer, Digest: d, Size: size})
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
	data, err := json.Marshal(config)
	ok(t, err)
	l.manifest.Config.Digest, l.manifest.Config.Size = l.write(data)
	l.save()
	_, err = other.Pull(t.Context(), "oci:"+dir+":x", builder.PullOptions{})
	ok(t, err)
	s := base(t, other)
	if run(t, s, "echo honest >/made").Cached {
		t.Error("the step was found in an image's history")
	}
	equal(t, sh(t, s, "cat /made"), "honest\n")
}

// A password goes to the registry that it is for, not to where that registry's blobs are.
func TestPasswordStaysWithItsRegistry(t *testing.T) {
	t.Parallel()
	layer := tarOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Linkname: "f"})
	config := []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(layer).String() + `"]}}`)
	blobs := map[string][]byte{digest.FromBytes(layer).String(): layer, digest.FromBytes(config).String(): config}
	var mu sync.Mutex
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth := r.Header.Get("Authorization"); auth != "" {
			mu.Lock()
			leaked = append(leaked, r.URL.Path+": "+auth)
			mu.Unlock()
		}
		_, _ = w.Write(blobs[filepath.Base(r.URL.Path)])
	}))
	defer elsewhere.Close()
	other := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	for name, foreignLayer := range map[string]bool{"redirect": false, "foreign layer": true} {
		described := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}
		if foreignLayer {
			described.URLs = []string{other + "/" + described.Digest.String()}
			described.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar"
		}
		m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Versioned: specVersion, Layers: []imgspec.Descriptor{described},
			Config: imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}}
		manifest, err := json.Marshal(m)
		ok(t, err)
		asked := 0
		registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			mu.Lock()
			asked++
			mu.Unlock()
			switch {
			case r.URL.Path == "/v2/":
			case strings.Contains(r.URL.Path, "/blobs/"):
				http.Redirect(w, r, other+"/"+filepath.Base(r.URL.Path), http.StatusTemporaryRedirect)
			default:
				w.Header().Set("Content-Type", m.MediaType)
				_, _ = io.Copy(w, bytes.NewReader(manifest))
			}
		}))
		address := strings.TrimPrefix(registry.URL, "http://")
		_, err = open(t).Pull(t.Context(), address+"/x:1", builder.PullOptions{Registry: builder.Registry{Username: "u", Password: "p", Host: address, TLSVerify: new(bool)}})
		registry.Close()
		if err != nil || asked < 2 || len(leaked) > 0 {
			t.Errorf("%s: %v; %d requests with the password; elsewhere: %q", name, err, asked, leaked)
		}
	}
}
