package gha_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/gha"
	"github.com/oakum-build/oakum/builder/cache/gha/ghatest"
)

const (
	main   = "refs/heads/main"
	branch = "refs/heads/work"
)

func open(t testing.TB, s *ghatest.Server, access ...ghatest.Access) *gha.Place {
	t.Helper()
	p, err := gha.Open(gha.Config{URL: s.URL, Token: ghatest.Token(t, access...), RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func put(t testing.TB, p cache.Place, content []byte) (name string) {
	t.Helper()
	name = digest.FromBytes(content).String()
	if err := p.Put(t.Context(), name, int64(len(content)), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return name
}

func get(t testing.TB, p cache.Place, name string) string {
	t.Helper()
	raw, err := read(t, p, name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return string(raw)
}

func read(t testing.TB, p cache.Place, name string) ([]byte, error) {
	body, err := p.Get(t.Context(), name)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(body)
	return raw, errors.Join(err, body.Close())
}

func manifest(t testing.TB, p cache.Place, text string) {
	t.Helper()
	if err := p.Put(t.Context(), cache.ManifestName, int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

// What is put is there, large blobs in blocks, once; and of manifests the last counts.
func TestPlace(t *testing.T) {
	t.Parallel()
	s := ghatest.New(t)
	p := open(t, s, ghatest.Access{Scope: main, Permission: 3})
	large := bytes.Repeat([]byte("0123456789abcdef"), 17<<20/16)
	for _, content := range [][]byte{[]byte("small"), {}, large} {
		name := digest.FromBytes(content).String()
		if has, err := p.Has(t.Context(), name); has || err != nil {
			t.Errorf("%v, %v before it was put", has, err)
		}
		if _, err := p.Get(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("reading what is not there: %v", err)
		}
		put(t, p, content)
		put(t, p, content)
		if has, err := p.Has(t.Context(), name); !has || err != nil {
			t.Errorf("%v, %v after it was put", has, err)
		}
		if get(t, p, name) != string(content) {
			t.Errorf("%d bytes are others", len(content))
		}
	}
	if got := fmt.Sprint(s.Requests()); got != "map[GET:3 PUT:2 block:3 blocklist:1]" {
		t.Errorf("requests: %s", got)
	}
	if _, err := p.Get(t.Context(), cache.ManifestName); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a manifest that is not there: %v", err)
	}
	manifest(t, p, "one")
	manifest(t, p, "two")
	if got := get(t, open(t, s, ghatest.Access{Scope: main, Permission: 1}), cache.ManifestName); got != "two" {
		t.Errorf("the manifest is %q", got)
	}
}

// A branch reads what it has and what the default branch has, and writes to its own alone. What others call alike is not read.
func TestBranches(t *testing.T) {
	t.Parallel()
	s := ghatest.New(t)
	trunk := open(t, s, ghatest.Access{Scope: main, Permission: 3})
	work := open(t, s, ghatest.Access{Scope: main, Permission: 1}, ghatest.Access{Scope: branch, Permission: 3})
	layer := put(t, trunk, []byte("layer"))
	manifest(t, trunk, `"of main"`)
	if get(t, work, cache.ManifestName) != `"of main"` || get(t, work, layer) != "layer" {
		t.Error("a branch does not see what the default branch has")
	}
	put(t, work, []byte("of the branch"))
	manifest(t, work, `"of the branch"`)
	if got := get(t, trunk, cache.ManifestName); got != `"of main"` {
		t.Errorf("the default branch reads %s", got)
	}
	var index imgspec.Index
	if err := json.Unmarshal([]byte(get(t, work, cache.ManifestName)), &index); err != nil || len(index.Manifests) != 2 {
		t.Fatalf("%+v, %v", index, err)
	}
	for i, want := range []string{`"of the branch"`, `"of main"`} {
		name := index.Manifests[i].Digest.String()
		if has, err := work.Has(t.Context(), name); !has || err != nil || get(t, work, name) != want {
			t.Errorf("%s: %v, %v", want, has, err)
		}
	}
	other, err := gha.Open(gha.Config{URL: s.URL, Token: ghatest.Token(t, ghatest.Access{Scope: main, Permission: 3}), Scope: "oakum-2,#"})
	if err != nil {
		t.Fatal(err)
	}
	if has, err := other.Has(t.Context(), cache.ManifestName); has || err != nil {
		t.Errorf("another scope: %v, %v", has, err)
	}
	manifest(t, other, "of another")
	if get(t, other, cache.ManifestName) != "of another" || get(t, trunk, cache.ManifestName) != `"of main"` {
		t.Error("scopes are mixed up")
	}
	reader := open(t, s, ghatest.Access{Scope: main, Permission: 1})
	if err := reader.Put(t.Context(), layer, 5, strings.NewReader("layer")); err == nil || !strings.Contains(err.Error(), "may only read") {
		t.Errorf("a token that may only read: %v", err)
	}
}

// What another key has is not taken for what was asked for.
func TestAnotherEntry(t *testing.T) {
	t.Parallel()
	s := ghatest.New(t)
	s.Service = func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.WriteString(w, `{"ok":true,"signed_download_url":"http://127.0.0.1:1/","matched_key":"oakum-1-"}`)
		return true
	}
	p := open(t, s, ghatest.Access{Scope: main, Permission: 3})
	for _, name := range []string{cache.ManifestName, digest.FromString("x").String()} {
		if has, err := p.Has(t.Context(), name); has || err != nil {
			t.Errorf("%s: %v, %v", name, has, err)
		}
	}
}

// Who was killed while he sent a blob keeps nobody else from doing so; and nothing is kept of what ends early, or with an error.
func TestBlobThatWasBegun(t *testing.T) {
	t.Parallel()
	s := ghatest.New(t)
	p := open(t, s, ghatest.Access{Scope: main, Permission: 3})
	content := []byte("content")
	name := digest.FromBytes(content).String()
	failed := errors.New("the disk is gone")
	for _, bad := range []io.Reader{strings.NewReader("cont"), strings.NewReader("contentcontent"), io.MultiReader(bytes.NewReader(content), errReader{failed})} {
		if err := p.Put(t.Context(), name, int64(len(content)), bad); err == nil {
			t.Error("content that is not what it should be was taken")
		}
	}
	if has, err := p.Has(t.Context(), name); has || err != nil || len(s.Keys()) != 0 {
		t.Errorf("%v, %v: %q are there", has, err, s.Keys())
	}
	put(t, p, content)
	if got := get(t, open(t, s, ghatest.Access{Scope: main, Permission: 1}), name); got != "content" {
		t.Errorf("read %q", got)
	}
	s.Evict("oakum-1-blob-")
	if _, err := read(t, open(t, s, ghatest.Access{Scope: main, Permission: 1}), name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what the service has removed: %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// What passes is tried again, and reading goes on where its connection broke.
func TestServiceThatFailsAtTimes(t *testing.T) {
	t.Parallel()
	s := ghatest.New(t)
	p := open(t, s, ghatest.Access{Scope: main, Permission: 3})
	content := bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)
	var asked, stored atomic.Int32
	s.Service = func(w http.ResponseWriter, r *http.Request) bool {
		if asked.Add(1)%2 == 0 {
			return false
		}
		ghatest.Refuse(w, 429, "resource_exhausted", "too many requests")
		return true
	}
	s.Storage = func(w http.ResponseWriter, r *http.Request) bool {
		n := stored.Add(1)
		switch {
		case r.Method == http.MethodPut && n%2 == 1:
			w.WriteHeader(503)
			return true
		case r.Method == http.MethodGet && r.Header.Get("Range") == "":
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(content)))
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:3<<20]) // and no more, so that the connection is broken
			return true
		}
		return false
	}
	name := put(t, p, content)
	if get(t, p, name) != string(content) {
		t.Error("the content is another")
	}
}

// Whatever the service answers that it should not is an error, in which there is neither the token nor what is signed.
func TestBadService(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s, with %q", r.URL, r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	token := ghatest.Token(t, ghatest.Access{Scope: main, Permission: 3})
	answering := func(status int, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
			return true
		}
	}
	for name, test := range map[string]struct {
		service, storage func(http.ResponseWriter, *http.Request) bool
		says             string
	}{
		"a token that is refused":  {service: answering(401, `{"code":"unauthenticated","msg":"bad token `+token+`"}`), says: "does not let in"},
		"what is forbidden":        {service: answering(403, ""), says: "ACTIONS_RUNTIME_TOKEN"},
		"a server that is broken":  {service: answering(500, "<html>"), says: "500"},
		"one that is busy":         {service: answering(429, "{}"), says: "429"},
		"a redirect":               {service: answering(307, ""), says: "307"},
		"no JSON":                  {service: answering(200, "<html>"), says: "not JSON"},
		"a list":                   {service: answering(200, "[]"), says: "not JSON"},
		"huge JSON":                {service: answering(200, `{"ok":true,"message":"`+strings.Repeat("x", 1<<20)+`"}`), says: "more than"},
		"no entry":                 {service: answering(200, `{"ok":false,"message":"the quota is used up"}`), says: "quota"},
		"no address":               {service: answering(200, `{"ok":true}`), says: "address"},
		"a file":                   {service: answering(200, `{"ok":true,"signed_upload_url":"file:///etc/passwd?SIGNED","signed_download_url":"file:///SIGNED","matched_key":"oakum-1-blob-x#"}`), says: "address"},
		"nobody there":             {service: answering(200, `{"ok":true,"signed_upload_url":"http://127.0.0.1:1/?sig=SIGNED"}`), says: "127.0.0.1:1"},
		"a storage that redirects": {storage: answering(302, ""), says: "302"},
		"a storage that refuses":   {storage: answering(403, "SIGNED"), says: "403"},
		"a storage that is broken": {storage: answering(500, ""), says: "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ghatest.New(t)
			s.Service, s.Storage = test.service, test.storage
			p, err := gha.Open(gha.Config{URL: s.URL, Token: token, RetryDelay: time.Millisecond, Retries: 1})
			if err != nil {
				t.Fatal(err)
			}
			err = p.Put(t.Context(), digest.FromString("x").String(), 1, strings.NewReader("x"))
			if err == nil || !strings.Contains(err.Error(), test.says) || len(s.Keys()) != 0 {
				t.Errorf("%v, want %q; %q are there", err, test.says, s.Keys())
			}
			if text := fmt.Sprint(err); strings.Contains(text, token) || strings.Contains(text, "SIGNED") {
				t.Errorf("a secret is in %q", text)
			}
		})
	}
}

// Content that is cut short, of another length, or does not go on where it should is an error, or what the digest tells.
func TestBadStorage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		says   string
	}{
		"always cut short": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "7")
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", strings.Replace(r.Header.Get("Range"), "=", " ", 1)+"6/7")
				w.WriteHeader(206)
				return
			}
			_, _ = io.WriteString(w, "cont")
		}, "EOF"},
		"goes on elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "7")
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 0-6/7")
				w.WriteHeader(206)
			}
			_, _ = io.WriteString(w, "cont")
		}, "goes on where it was not asked to"},
		"knows no ranges": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "7")
			_, _ = io.WriteString(w, "cont")
		}, "200"},
		"is gone": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, "has it no more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ghatest.New(t)
			name := put(t, open(t, s, ghatest.Access{Scope: main, Permission: 3}), []byte("content"))
			s.Storage = func(w http.ResponseWriter, r *http.Request) bool { test.answer(w, r); return true }
			raw, err := read(t, open(t, s, ghatest.Access{Scope: main, Permission: 1}), name)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "SIGNED") {
				t.Errorf("%q, %v; want %q", raw, err, test.says)
			}
		})
	}
}

// A token that has ended, and what is no URL, are found before anything is asked for. What is no token of GitHub's may be one of
// another server's.
func TestOpen(t *testing.T) {
	t.Parallel()
	good := ghatest.Token(t, ghatest.Access{Scope: main, Permission: 3})
	for name, test := range map[string]struct {
		config gha.Config
		says   string
	}{
		"no URL":                  {gha.Config{Token: good}, "URL"},
		"another scheme":          {gha.Config{URL: "ftp://x/", Token: good}, "URL"},
		"no token":                {gha.Config{URL: "https://x/"}, "token"},
		"a token that has ended":  {gha.Config{URL: "https://x/", Token: ghatest.TokenUntil(t, time.Unix(1e9, 0))}, "2001-09-09T01:46:40Z"},
		"a scope without bounds":  {gha.Config{URL: "https://x/", Token: good, Scope: strings.Repeat("x", 101)}, "scope"},
		"good":                    {gha.Config{URL: "https://x/", Token: good}, ""},
		"a token without meaning": {gha.Config{URL: "https://x/", Token: "a.%.c"}, ""},
		"another server's":        {gha.Config{URL: "https://x/y", Token: "secret"}, ""},
	} {
		_, err := gha.Open(test.config)
		if (err == nil) != (test.says == "") || err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), test.config.Token) && test.config.Token != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server that says nothing for longer than the timeout is left.
func TestTimeout(t *testing.T) {
	t.Parallel()
	s := ghatest.New(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	s.Service = func(w http.ResponseWriter, r *http.Request) bool { <-over; return true }
	p, err := gha.Open(gha.Config{URL: s.URL, Token: "x", Timeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Has(t.Context(), cache.ManifestName); err == nil || !strings.Contains(err.Error(), "it took longer than 1ms") {
		t.Errorf("%v", err)
	}
}
