//go:build linux

package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/retry"
)

// patient tries again at once.
func patient() registry.Access {
	return insecure(registry.Access{Retry: retry.Policy{Delay: time.Millisecond}})
}

// pushTo pushes an image.
func pushTo(ctx context.Context, s *Store, ref, dest string, a registry.Access) (digest.Digest, error) {
	d, err := s.Push(ctx, ref, dest, PushOptions{}, a)
	return d.Digest, err
}

// noise does not become smaller when it is compressed.
func noise(n int, seed uint64) string {
	data := make([]byte, n)
	source := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = byte(source.Uint32())
	}
	return string(data)
}

// noisy is an image of three layers that are larger than what a connection holds in its buffers.
func noisy(t testing.TB, s *Store, seed uint64, name string) Image {
	t.Helper()
	var top *Layer
	for i := range uint64(3) {
		top = layer(t, s, top, fmt.Sprint("f", i), noise(150<<10, seed+i))
	}
	return commit(t, s, top, name)
}

// openAt opens a store and gives its root.
func openAt(t testing.TB) (*Store, string) {
	t.Helper()
	root := t.TempDir()
	s := openIn(t, root)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, root
}

// files lists all that a store has but for locks and what is remembered of places that blobs are in.
func files(t testing.TB, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && !strings.HasSuffix(path, ".lock") && !strings.Contains(path, "blob-info-cache") {
			all = append(all, strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// settledFiles are those that a store has when nothing goes on in it: what keeps a layer that was in use goes by a timer else.
func settledFiles(t testing.TB, s *Store, root string) []string {
	t.Helper()
	s.releaseUnused()
	return files(t, root)
}

// differ tells what is in one of two sorted lists alone.
func differ(t testing.TB, before, after []string) {
	t.Helper()
	only := func(in, out []string) []string {
		return slices.DeleteFunc(slices.Clone(in), func(path string) bool { _, found := slices.BinarySearch(out, path); return found })
	}
	if more := only(after, before); len(more) > 0 {
		t.Errorf("it left %q", more)
	}
	if fewer := only(before, after); len(fewer) > 0 {
		t.Errorf("it took away %q", fewer)
	}
}

// chaotic is a registry with an image, which it has as app:1.
type chaotic struct {
	*chaos.Registry
	manifest imgspec.Manifest
	digest   digest.Digest
	id       string
}

func newChaotic(t *testing.T) *chaotic {
	t.Helper()
	c := &chaotic{Registry: chaos.New(t)}
	s := open(t)
	c.id = noisy(t, s, 1, "app").ID
	var err error
	if c.digest, err = pushTo(t.Context(), s, "app", c.Host+"/app:1", patient()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, layer(t, s, nil, "other", ""), "other")
	if _, err = pushTo(t.Context(), s, "other", c.Host+"/other:1", patient()); err != nil {
		t.Fatal(err)
	}
	_, raw := c.Manifest("app", "1")
	if err := json.Unmarshal(raw, &c.manifest); err != nil {
		t.Fatal(err)
	}
	return c
}

// changed is the image's manifest with other contents.
func (c *chaotic) changed(t *testing.T, change func(m map[string]any)) chaos.Fault {
	t.Helper()
	mediaType, raw := c.Manifest("app", "1")
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if named, ok := m["mediaType"].(string); ok {
		mediaType = named
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return chaos.Answer(mediaType, raw)
}

func firstLayer(m map[string]any) map[string]any {
	return m["layers"].([]any)[0].(map[string]any)
}

// What a registry does wrong ends in the image or in an error that says it is the registry's, and
// with an error the store is what it was.
func TestPullsFromChaos(t *testing.T) {
	authtest.Home(t)
	of := newChaotic(t)
	r := of.Registry
	layerPath := "GET /v2/app/blobs/" + of.manifest.Layers[1].Digest.String()
	configPath := "GET /v2/app/blobs/" + of.manifest.Config.Digest.String()
	const manifests, blobs = "GET /v2/app/manifests", "GET /v2/app/blobs"
	size := int(of.manifest.Layers[1].Size)
	empty := json.RawMessage(`{}`)
	for name, test := range map[string]struct {
		rules []chaos.Rule
		ok    string // "yes", "no", or "" for either
		says  string
	}{
		"nothing wrong":           {nil, "yes", ""},
		"401 for ever":            {[]chaos.Rule{{Of: manifests, Fault: chaos.Unauthorized(r)}}, "no", ""},
		"401 for ever by basic":   {[]chaos.Rule{{Of: manifests, Fault: chaos.Status(401, "WWW-Authenticate", `Basic realm="x"`)}}, "no", ""},
		"401 of a blob":           {[]chaos.Rule{{Of: blobs, Fault: chaos.Unauthorized(r)}}, "no", ""},
		"403 of a blob":           {[]chaos.Rule{{Of: layerPath, Fault: chaos.Status(403)}}, "no", ""},
		"404 of a blob":           {[]chaos.Rule{{Of: layerPath, Fault: chaos.Status(404)}}, "no", ""},
		"429 that says when":      {[]chaos.Rule{{Of: manifests, Times: 1, Fault: chaos.Status(429, "Retry-After", "1")}}, "yes", ""},
		"429 that does not":       {[]chaos.Rule{{Of: blobs, Times: 1, Fault: chaos.Status(429)}}, "yes", ""},
		"500":                     {[]chaos.Rule{{Of: manifests, Times: 1, Fault: chaos.Status(500)}}, "yes", ""},
		"500 of blobs":            {[]chaos.Rule{{Of: blobs, Times: 2, Fault: chaos.Status(500)}}, "yes", ""},
		"502 of a blob":           {[]chaos.Rule{{Of: layerPath, Times: 2, Fault: chaos.Status(502)}}, "yes", ""},
		"503 of a configuration":  {[]chaos.Rule{{Of: configPath, Times: 2, Fault: chaos.Status(503)}}, "yes", ""},
		"503 for ever":            {[]chaos.Rule{{Of: layerPath, Fault: chaos.Status(503)}}, "no", ""},
		"reset at once":           {[]chaos.Rule{{Of: layerPath, Times: 1, Fault: chaos.Reset(0)}}, "yes", ""},
		"reset halfway":           {[]chaos.Rule{{Of: layerPath, Times: 1, Fault: chaos.Reset(size / 2)}}, "yes", ""},
		"reset for ever":          {[]chaos.Rule{{Of: layerPath, Fault: chaos.Reset(size / 2)}}, "", ""},
		"reset at once for ever":  {[]chaos.Rule{{Of: layerPath, Fault: chaos.Reset(0)}}, "no", ""},
		"cut for ever":            {[]chaos.Rule{{Of: layerPath, Fault: chaos.Cut(0)}}, "no", ""},
		"the configuration is":    {[]chaos.Rule{{Of: configPath, Times: 1, Fault: chaos.Cut(10)}}, "yes", ""},
		"the manifest is":         {[]chaos.Rule{{Of: manifests, Times: 1, Fault: chaos.Cut(10)}}, "yes", ""},
		"no ranges":               {[]chaos.Rule{{Of: layerPath, Times: 1, Fault: chaos.Reset(size / 2)}, {Of: layerPath, Fault: chaos.WholeForRange}}, "yes", ""},
		"a wrong range":           {[]chaos.Rule{{Of: layerPath, Times: 1, Fault: chaos.Reset(size / 2)}, {Of: layerPath, Times: 1, Fault: chaos.WrongRange}}, "", ""},
		"a false range":           {[]chaos.Rule{{Of: layerPath, Times: 1, Fault: chaos.Reset(size / 2)}, {Of: layerPath, Times: 1, Fault: chaos.FalseRange}}, "", ""},
		"a changed layer":         {[]chaos.Rule{{Of: layerPath, Fault: chaos.Flip()}}, "no", "digest"},
		"a changed configuration": {[]chaos.Rule{{Of: configPath, Fault: chaos.Flip()}}, "no", "digest"},
		"a short layer":           {[]chaos.Rule{{Of: layerPath, Fault: chaos.Short(9)}}, "no", ""},
		"a long layer":            {[]chaos.Rule{{Of: layerPath, Fault: chaos.Long(9)}}, "no", ""},
		"an empty layer":          {[]chaos.Rule{{Of: layerPath, Fault: chaos.Answer("", nil)}}, "no", ""},
		"a short configuration":   {[]chaos.Rule{{Of: configPath, Fault: chaos.Short(1)}}, "no", ""},
		"a page for a layer":      {[]chaos.Rule{{Of: layerPath, Fault: chaos.Answer("text/html", []byte("<html>Log in, please"))}}, "no", ""},
		"a page for a manifest":   {[]chaos.Rule{{Of: manifests, Fault: chaos.Answer("text/html", []byte("<html>Log in, please"))}}, "no", ""},
		"an empty manifest":       {[]chaos.Rule{{Of: manifests, Fault: chaos.Answer(imgspec.MediaTypeImageManifest, nil)}}, "no", ""},
		"null for a manifest":     {[]chaos.Rule{{Of: manifests, Fault: chaos.Answer(imgspec.MediaTypeImageManifest, []byte("null"))}}, "no", ""},
		"{} for a configuration":  {[]chaos.Rule{{Of: configPath, Fault: chaos.Answer("", empty)}}, "no", ""},
		"a large manifest":        {[]chaos.Rule{{Of: manifests, Fault: chaos.Endless(imgspec.MediaTypeImageManifest, `{"schemaVersion":2,"annotations":{"x":"`)}}, "no", "exceeded maximum allowed size"},
		"two things": {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) {
			m["manifests"] = []any{map[string]any{"mediaType": imgspec.MediaTypeImageManifest, "digest": of.digest, "size": 1}}
		})}}, "no", ""},
		"an index by its type":       {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["mediaType"] = imgspec.MediaTypeImageIndex })}}, "no", ""},
		"an index by its header":     {[]chaos.Rule{{Of: manifests, Fault: chaos.Header("Content-Type", imgspec.MediaTypeImageIndex)}}, "no", ""},
		"an unknown type":            {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["mediaType"] = "application/vnd.example" })}}, "no", ""},
		"no layers":                  {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["layers"] = []any{} })}}, "no", ""},
		"a layer less":               {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["layers"] = m["layers"].([]any)[1:] })}}, "no", ""},
		"a layer more":               {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["layers"] = append(m["layers"].([]any), firstLayer(m)) })}}, "no", ""},
		"layers changed about":       {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { slices.Reverse(m["layers"].([]any)) })}}, "no", ""},
		"layers are null":            {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["layers"] = []any{nil} })}}, "no", ""},
		"no configuration":           {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { delete(m, "config") })}}, "no", ""},
		"a digest that is a path":    {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { firstLayer(m)["digest"] = "sha256:../../../../etc/passwd" })}}, "no", "digest"},
		"a digest of another kind":   {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { firstLayer(m)["digest"] = "md5:d41d8cd98f00b204e9800998ecf8427e" })}}, "no", "digest"},
		"a layer said to be small":   {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { firstLayer(m)["size"] = 10 })}}, "no", ""},
		"a layer said to be large":   {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { firstLayer(m)["size"] = 1 << 50 })}}, "no", ""},
		"a negative size":            {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { firstLayer(m)["size"] = -5 })}}, "no", ""},
		"a large configuration":      {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { m["config"].(map[string]any)["size"] = 1 << 50 })}}, "no", ""},
		"layers that are no archive": {[]chaos.Rule{{Of: manifests, Fault: of.changed(t, func(m map[string]any) { firstLayer(m)["mediaType"] = "text/plain" })}}, "", ""},
		"a header lies of digests":   {[]chaos.Rule{{Of: blobs, Fault: chaos.Header("Docker-Content-Digest", "sha256:../../x")}, {Of: manifests, Fault: chaos.Header("Docker-Content-Digest", digest.FromString("").String())}}, "", ""},
		"redirects in a circle":      {[]chaos.Rule{{Of: layerPath, Fault: chaos.Redirect("")}}, "no", ""},
		"a redirect to a file":       {[]chaos.Rule{{Of: layerPath, Fault: chaos.Status(307, "Location", "file:///etc/passwd")}}, "no", ""},
		"a redirect to nothing":      {[]chaos.Rule{{Of: layerPath, Fault: chaos.Status(307)}}, "no", ""},
	} {
		if driver() == DriverTree && test.ok == "yes" {
			continue // what is left where is of a driver, and what a registry is asked is not
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, root := openAt(t)
			r := r.Clone(t)
			if _, err := s.Pull(t.Context(), r.Host+"/other:1", platform.Platform{}, patient()); err != nil {
				t.Fatal(err) // what a store makes when it is first needed is there then
			}
			before := settledFiles(t, s, root)
			r.Break(test.rules...)
			img, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, patient())
			switch {
			case err == nil && test.ok == "no":
				t.Fatalf("it was pulled as %s", img.ID)
			case err == nil:
				if img.ID != of.id {
					t.Errorf("pulled %+v, want %s", img, of.id)
				}
				return
			case test.ok == "yes" || !errors.Is(err, registry.ErrRegistry) || !strings.Contains(strings.ToLower(err.Error()), test.says):
				t.Errorf("got %v, want %q", err, test.says)
			}
			if n := len(r.Requests("")); n > 60 {
				t.Errorf("%d requests", n)
			}
			differ(t, before, settledFiles(t, s, root))
			r.Break()
			if _, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, patient()); err != nil {
				t.Errorf("and then: %v", err)
			}
		})
	}
}

// What is asked for by a digest, in a name or an index, is that or an error, whatever the registry
// answers; and indexes that are none, or lead nowhere or in a circle, are errors.
func TestDigestsInChaos(t *testing.T) {
	authtest.Home(t)
	of := newChaotic(t)
	_, own := of.Manifest("app", "1")
	_, other := of.Manifest("other", "1")
	index := func(entries ...map[string]any) []byte {
		raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": imgspec.MediaTypeImageIndex, "manifests": entries})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	entry := func(mediaType string, d digest.Digest, size int) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": d, "size": size, "platform": map[string]string{"os": "linux", "architecture": "amd64"}}
	}
	const oci, list = imgspec.MediaTypeImageManifest, imgspec.MediaTypeImageIndex
	honest := index(entry(oci, of.digest, len(own)))
	many := make([]map[string]any, 0, 20000)
	for i := range cap(many) {
		many = append(many, entry(oci, digest.FromString(fmt.Sprint(i)), 1))
	}
	byDigest := "GET /v2/app/manifests/" + of.digest.String()
	for name, test := range map[string]struct {
		ref   string
		index []byte // what the tag is
		fault chaos.Fault
		ok    bool
	}{
		"a digest":                      {"@" + of.digest.String(), nil, nil, true},
		"a digest that is another":      {"@" + of.digest.String(), nil, chaos.Answer(oci, other), false},
		"a digest that is nearly it":    {"@" + of.digest.String(), nil, chaos.Flip(), false},
		"a digest that is longer":       {"@" + of.digest.String(), nil, chaos.Changed(func(b []byte) []byte { return append(b, '\n') }), false},
		"a digest that is an index":     {"@" + of.digest.String(), nil, chaos.Answer(list, honest), false},
		"an index":                      {":1", honest, nil, true},
		"its image is another":          {":1", honest, chaos.Answer(oci, other), false},
		"its image is the index":        {":1", honest, chaos.Answer(list, honest), false},
		"its image is not there":        {":1", honest, chaos.Status(404), false},
		"its digest is none":            {":1", index(entry(oci, "sha256:../../x", 1)), nil, false},
		"its digest is empty":           {":1", index(entry(oci, "", 1)), nil, false},
		"it is empty":                   {":1", index(), nil, false},
		"it has null":                   {":1", index(nil), nil, false},
		"it is for others":              {":1", index(map[string]any{"mediaType": oci, "digest": of.digest, "size": len(own), "platform": map[string]string{"os": "plan9", "architecture": "z80"}}), nil, false},
		"it has no platforms":           {":1", index(map[string]any{"mediaType": oci, "digest": of.digest, "size": len(own), "platform": nil}), nil, true},
		"an index in it":                {":1", index(entry(list, digest.FromBytes(honest), len(honest))), nil, false},
		"it has images beyond counting": {":1", index(many...), nil, false},
		"it has layers":                 {":1", append(honest[:len(honest)-1:len(honest)-1], []byte(`,"layers":[]}`)...), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, root := openAt(t)
			r := of.Clone(t)
			if _, err := s.Pull(t.Context(), r.Host+"/other:1", platform.Platform{}, patient()); err != nil {
				t.Fatal(err)
			}
			before := settledFiles(t, s, root)
			if test.index != nil {
				r.PutManifest("app", "1", list, test.index)
			}
			if test.fault != nil {
				r.Break(chaos.Rule{Of: byDigest, Fault: test.fault})
			}
			img, err := s.Pull(t.Context(), r.Host+"/app"+test.ref, platform.Platform{OS: "linux", Architecture: "amd64"}, patient())
			if (err == nil) != test.ok || err == nil && img.ID != of.id {
				t.Fatalf("pulled %q, %v, want %s", img.ID, err, of.id)
			}
			if err != nil {
				differ(t, before, settledFiles(t, s, root))
			}
		})
	}
}

// A push ends in the image being there or in an error of the registry's. One after an error sends
// nothing that arrived.
func TestPushesToChaos(t *testing.T) {
	authtest.Home(t)
	s, root := openAt(t)
	const begin, piece, end, manifests = "POST /v2/app/blobs", "PATCH /v2/app/blobs", "PUT /v2/app/blobs", "PUT /v2/app/manifests"
	always := func(of string, fault chaos.Fault) []chaos.Rule { return []chaos.Rule{{Of: of, Fault: fault}} }
	once := func(of string, fault chaos.Fault) []chaos.Rule { return []chaos.Rule{{Of: of, Times: 1, Fault: fault}} }
	img, other := noisy(t, s, 1, "app"), chaos.New(t)
	for name, test := range map[string]struct {
		rules []chaos.Rule
		ok    string // "yes", "no", or "" for either
	}{
		"nothing wrong":                {nil, "yes"},
		"401 for ever":                 {always(begin, chaos.Unauthorized(other)), "no"},
		"401 of the manifest":          {always(manifests, chaos.Unauthorized(other)), "no"},
		"403":                          {always(begin, chaos.Status(403)), "no"},
		"403 of the manifest":          {always(manifests, chaos.Status(403)), "no"},
		"413":                          {always(piece, chaos.Status(413)), "no"},
		"400 of the manifest":          {always(manifests, chaos.Status(400)), "no"},
		"429 that says when":           {once(begin, chaos.Status(429, "Retry-After", "1")), "yes"},
		"429 of the manifest":          {once(manifests, chaos.Status(429, "Retry-After", "1")), "yes"},
		"500":                          {once(begin, chaos.Status(500)), "yes"},
		"502 of a piece":               {once(piece, chaos.Status(502)), "yes"},
		"503 at the end":               {once(end, chaos.Status(503)), "yes"},
		"504 of the manifest":          {once(manifests, chaos.Status(504)), "yes"},
		"500 of asking":                {once("HEAD /v2/app/blobs", chaos.Status(500)), "yes"},
		"503 for ever":                 {[]chaos.Rule{{Of: piece, Skip: 2, Fault: chaos.Status(503)}}, "no"},
		"reset at once":                {once(piece, chaos.ResetRequest(0)), "yes"},
		"reset on the way":             {once(piece, chaos.ResetRequest(100<<10)), "yes"},
		"reset at the end":             {once(end, chaos.ResetRequest(0)), "yes"},
		"reset of the manifest":        {once(manifests, chaos.ResetRequest(10)), "yes"},
		"reset for ever":               {always(piece, chaos.ResetRequest(100<<10)), "no"},
		"the answer is lost":           {once(end, chaos.Reset(0)), "yes"},
		"the manifest's answer is":     {once(manifests, chaos.Reset(0)), "yes"},
		"an upload is forgotten":       {once(end, chaos.Status(404)), "yes"},
		"an upload is always":          {always(end, chaos.Status(404)), "no"},
		"a piece finds no upload":      {once(piece, chaos.Status(404)), "yes"},
		"uploads without place":        {always(begin, chaos.Status(202)), "no"},
		"uploads at no URL":            {always(begin, chaos.Status(202, "Location", "http://%zz/")), "no"},
		"uploads at a file":            {always(begin, chaos.Status(202, "Location", "file:///etc/passwd")), "no"},
		"a digest is not taken":        {always(end, chaos.Status(400)), "no"},
		"the blob is another":          {always(end, chaos.Header("Docker-Content-Digest", digest.FromString("").String())), ""},
		"a page for an upload":         {always(begin, chaos.Answer("text/html", []byte("<html>Log in, please"))), "no"},
		"asking is answered by a page": {always("HEAD /v2/app/blobs", chaos.Status(302, "Location", other.URL+"/login")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := chaos.New(t)
			r.Break(test.rules...)
			d, err := pushTo(t.Context(), s, img.ID, r.Host+"/app:1", patient())
			switch {
			case err == nil && test.ok == "no":
				t.Errorf("it was pushed as %s", d)
			case err != nil && (test.ok == "yes" || !errors.Is(err, registry.ErrRegistry)):
				t.Errorf("got %v", err)
			}
			if n := len(r.Requests("")); n > 60 {
				t.Errorf("%d requests", n)
			}
			if _, raw := r.Manifest("app", "1"); err != nil && raw != nil {
				t.Errorf("the manifest is there: %s", raw)
			}
			if left, err := filepath.Glob(filepath.Join(root, "*", "tempdirs", "oakum", "*", "*")); err != nil || len(left) > 0 {
				t.Errorf("it left %q, %v", left, err)
			}
			r.Rest(t)
			arrived, unsure := r.Blobs("app"), 0
			if err != nil {
				unsure = unanswered(r)
			}
			r.Break()
			again, err := pushTo(t.Context(), s, img.ID, r.Host+"/app:1", patient())
			if _, raw := r.Manifest("app", "1"); err != nil || digest.FromBytes(raw) != again || d != "" && d != again {
				t.Errorf("and then: %v; %s, and before %s", err, again, d)
			}
			if sent, news := len(r.Requests(end)), len(r.Blobs("app"))-len(arrived); sent < news || sent > news+unsure {
				t.Errorf("the next push sent %d blobs, and %d were missing", sent, news)
			}
		})
	}
}

// A transfer ends when its caller wants that, wherever the registry keeps it waiting. A pull has left
// nothing then, and what a push had sent is not sent again.
func TestCancelledInChaos(t *testing.T) {
	authtest.Home(t)
	of := newChaotic(t)
	source := open(t)
	own := noisy(t, source, 7, "own")
	for name, test := range map[string]struct {
		of   string
		skip int
		push bool
	}{
		"a pull at asking":            {"GET /v2/", 0, false},
		"a pull at the manifest":      {"GET /v2/app/manifests", 0, false},
		"a pull at the configuration": {"GET /v2/app/blobs/" + of.manifest.Config.Digest.String(), 0, false},
		"a pull at the second layer":  {"GET /v2/app/blobs/" + of.manifest.Layers[1].Digest.String(), 0, false},
		"a push at asking":            {"GET /v2/", 0, true},
		"a push at an upload":         {"POST /v2/app/blobs", 1, true},
		"a push at a piece":           {"PATCH /v2/app/blobs", 2, true},
		"a push at an end":            {"PUT /v2/app/blobs", 1, true},
		"a push at the manifest":      {"PUT /v2/app/manifests", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := of.Clone(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s, root := openAt(t)
			if _, err := s.Pull(t.Context(), r.Host+"/other:1", platform.Platform{}, patient()); err != nil {
				t.Fatal(err)
			}
			before := settledFiles(t, s, root)
			silent := func(_ http.ResponseWriter, q *http.Request, _ http.Handler) {
				cancel()
				_, _ = io.Copy(io.Discard, q.Body) // else the server does not notice that the client has gone
				<-q.Context().Done()
			}
			r.Break(chaos.Rule{Of: test.of, Skip: test.skip, Fault: silent})
			var err error
			if test.push {
				_, err = pushTo(ctx, source, own.ID, r.Host+"/app:2", patient())
			} else {
				_, err = s.Pull(ctx, r.Host+"/app:1", platform.Platform{}, patient())
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			differ(t, before, settledFiles(t, s, root))
			if _, raw := r.Manifest("app", "2"); raw != nil {
				t.Error("the manifest is there")
			}
			r.Rest(t)
			arrived, unsure := len(r.Blobs("app")), 0
			if strings.Contains(test.of, "/blobs") {
				unsure = unanswered(r)
			}
			r.Break()
			if test.push {
				_, err = pushTo(t.Context(), source, own.ID, r.Host+"/app:2", patient())
			} else {
				_, err = s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, patient())
			}
			if sent, news := len(r.Requests("PUT /v2/app/blobs")), len(r.Blobs("app"))-arrived; err != nil || sent < news || sent > news+unsure {
				t.Errorf("and then: %v; %d blobs were sent, and %d were missing", err, sent, news)
			}
		})
	}
}

// unanswered is how many blobs at most have arrived in a push that ended early without the answer to that having
// done so: of layers that are sent at once, one that fails ends the others. They are sent again.
func unanswered(r *chaos.Registry) int { return len(r.Requests("PUT /v2/app/blobs")) }

// A login is for its registry, and for no other server that the registry names.
func TestLoginsInChaos(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	img := noisy(t, s, 99, "app")
	r, other := chaos.New(t), chaos.New(t)
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	wants := func(next chaos.Fault) chaos.Fault {
		return func(w http.ResponseWriter, q *http.Request, answer http.Handler) {
			if user, password, _ := q.BasicAuth(); user != "me" || password != "secret" {
				chaos.Status(401, "WWW-Authenticate", `Basic realm="x"`)(w, q, answer)
				return
			}
			next(w, q, answer)
		}
	}
	right := func(w http.ResponseWriter, q *http.Request, next http.Handler) { next.ServeHTTP(w, q) }
	access := patient()
	access.Username, access.Password, access.Host = "me", "secret", r.Host
	r.Break(chaos.Rule{Fault: wants(right)})
	if _, err := pushTo(t.Context(), s, img.ID, r.Host+"/app:1", access); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		of    string
		fault chaos.Fault
		push  bool
	}{
		"a blob is elsewhere":      {"GET /v2/app/blobs", chaos.Redirect(elsewhere), false},
		"a manifest is elsewhere":  {"GET /v2/app/manifests", chaos.Redirect(elsewhere), false},
		"tokens are elsewhere":     {"GET /v2/", chaos.Status(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, elsewhere)), false},
		"an upload is elsewhere":   {"POST /v2/app/blobs", chaos.Status(202, "Location", elsewhere+"/v2/app/blobs/uploads/1"), true},
		"a piece is elsewhere":     {"PATCH /v2/app/blobs", chaos.Redirect(elsewhere), true},
		"an end is elsewhere":      {"PUT /v2/app/blobs", chaos.Redirect(elsewhere), true},
		"the manifest's place is":  {"PUT /v2/app/manifests", chaos.Redirect(elsewhere), true},
		"a next piece's is":        {"PATCH /v2/app/blobs", chaos.Status(202, "Location", elsewhere+"/v2/app/blobs/uploads/1"), true},
		"a blob is asked of there": {"HEAD /v2/app/blobs", chaos.Redirect(elsewhere), true},
	} {
		other.Break()
		r.Break(chaos.Rule{Of: test.of, Fault: wants(test.fault)}, chaos.Rule{Fault: wants(right)})
		var err error
		if test.push {
			_, err = pushTo(t.Context(), s, noisy(t, s, uint64(len(name))<<32, "other").ID, r.Host+"/app:2", access)
		} else {
			_, err = open(t).Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, access)
		}
		if len(r.Requests("")) < 2 {
			t.Errorf("%s: %v; %d requests", name, err, len(r.Requests("")))
		}
		for _, q := range other.Requests("") {
			text := fmt.Sprint(q.Header, q.Path, q.Query)
			if user, password, ok := (&http.Request{Header: q.Header}).BasicAuth(); ok || bytes.Contains([]byte(text), []byte("secret")) {
				t.Errorf("%s: %s %s was sent %s:%s (%v)", name, q.Method, q.Path, user, password, err)
			}
		}
	}
}
