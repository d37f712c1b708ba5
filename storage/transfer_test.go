//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	fakeregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/retry"
	"github.com/oakum-build/oakum/storage/stall"
)

// faulty is a registry whose first answers to some requests go wrong.
type faulty struct {
	host string

	mu    sync.Mutex // guards the rest: requests of the test before may still be answered
	times int        // how often more
	fault http.HandlerFunc
	of    string // requests whose method and path have this
}

// fail lets the next requests whose method and path have a text go wrong; "" is none.
func (f *faulty) fail(times int, of string, fault http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times, f.of, f.fault = times, of, fault
}

// faultOf gives what becomes of a request, nil when it is answered as usual.
func (f *faulty) faultOf(r *http.Request) http.HandlerFunc {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == "" || f.times == 0 || !strings.Contains(r.Method+" "+r.URL.Path, f.of) {
		return nil
	}
	f.times--
	return f.fault
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{}
	images := fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := f.faultOf(r); fault != nil {
			fault(w, r)
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { go s.Close() })
	f.host = s.Listener.Addr().String()
	return f
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func cutShort(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, "{")
}

// What fails for a reason that may pass is tried again, and said; what does not, is not.
func TestTransfersAreTriedAgain(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	f := newFaulty(t)
	img := commit(t, s, layer(t, s, nil, "f", "one"), "app")
	name := f.host + "/app:1"
	for label, test := range map[string]struct {
		of    string
		fault http.HandlerFunc
		push  bool
		times int
		ok    bool
	}{
		"pull, the greeting is busy": {"GET /v2/", status(503), false, 1, true},
		"pull, a manifest is busy":   {"GET /v2/app/manifests", status(503), false, 2, true},
		"pull, a manifest is reset":  {"GET /v2/app/manifests", reset, false, 1, true},
		"pull, a manifest is cut":    {"GET /v2/app/manifests", cutShort, false, 1, true},
		"pull, a layer is busy":      {"GET /v2/app/blobs", status(502), false, 1, true},
		"pull, a layer is reset":     {"GET /v2/app/blobs", reset, false, 1, true},
		"pull, busy for ever":        {"GET /v2/app/manifests", status(503), false, 99, false},
		"push, the greeting is busy": {"GET /v2/", status(500), true, 1, true},
		"push, an upload is busy":    {"POST /v2/app/blobs", status(503), true, 1, true},
		"push, an upload is reset":   {"PATCH /v2/app/blobs", reset, true, 1, true},
		"push, a manifest is busy":   {"PUT /v2/app/manifests", status(504), true, 1, true},
		"pull, refused":              {"GET /v2/app/manifests", status(403), false, 1, false},
		"pull, not there":            {"GET /v2/app/manifests", status(404), false, 1, false},
		"push, refused":              {"PUT /v2/app/manifests", status(403), true, 1, false},
	} {
		f.fail(0, "", nil)
		if _, err := s.Push(t.Context(), img.ID, name, PushOptions{}, insecure(registry.Access{})); err != nil {
			t.Fatal(err)
		}
		f.fail(test.times, test.of, test.fault)
		notices := 0
		access := insecure(registry.Access{Retry: retry.Policy{Delay: time.Millisecond, Notice: func(text string) {
			notices++
			if !strings.Contains(text, "app:") || !strings.Contains(text, " failed: ") || !strings.Contains(text, "trying again in ") {
				t.Errorf("%s: %s", label, text)
			}
		}}})
		var err error
		if test.push {
			new := commit(t, s, layer(t, s, nil, "f", label), "other")
			_, err = s.Push(t.Context(), new.ID, f.host+"/app:2", PushOptions{}, access)
		} else {
			_, err = open(t).Pull(t.Context(), name, platform.Platform{}, access) // s has the layers
		}
		kind := registry.ErrRegistry
		if label == "pull, not there" {
			kind = ErrNotFound
		}
		if (err == nil) != test.ok || err != nil && !errors.Is(err, kind) {
			t.Errorf("%s: %v", label, err)
		}
		want := min(test.times, 3)
		if !test.ok && test.times == 1 {
			want = 0
		}
		// net/http itself tries again what a reused connection did not get through.
		if notices != want && !strings.HasSuffix(label, "reset") {
			t.Errorf("%s: tried again %d times, want %d (%v)", label, notices, want, err)
		}
	}
}

// A registry that dribbles, takes nothing or never ends is given up, wherever it does.
func TestRegistriesWithoutEnd(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	f := newFaulty(t)
	img := commit(t, s, layer(t, s, nil, "f", strings.Repeat("one", 1000)), "app")
	if _, err := s.Push(t.Context(), img.ID, f.host+"/app:1", PushOptions{}, insecure(registry.Access{})); err != nil {
		t.Fatal(err)
	}
	dribble := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil && t.Context().Err() == nil {
			fmt.Fprint(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}
	silent := func(http.ResponseWriter, *http.Request) { <-t.Context().Done() }
	endless := func(w http.ResponseWriter, r *http.Request) {
		for n := 0; r.Context().Err() == nil; n++ {
			fmt.Fprint(w, strings.Repeat(" ", 4096))
			if n > 512 { // 2 MB: else a configuration's own limit, of 4 MB, may be reached before anybody has counted
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	access := insecure(registry.Access{Limits: stall.Limits{Window: 200 * time.Millisecond, Least: 100, Most: 1 << 20}})
	for label, test := range map[string]struct {
		of    string
		fault http.HandlerFunc
		push  bool
		says  string
	}{
		"a dribbled greeting":   {"GET /v2/", dribble, false, "too slow"},
		"a dribbled manifest":   {"GET /v2/app/manifests", dribble, false, "too slow"},
		"a dribbled layer":      {"GET /v2/app/blobs", dribble, false, "too slow"},
		"a silent layer":        {"GET /v2/app/blobs", silent, false, "too slow"},
		"an endless layer":      {"GET /v2/app/blobs", endless, false, "sent more than 1048576 bytes"},
		"a silent upload":       {"POST /v2/app/blobs", silent, true, "too slow"},
		"an upload taken by no": {"PATCH /v2/app/blobs", silent, true, "too slow"},
		"a silent end":          {"PUT /v2/app/manifests", silent, true, "too slow"},
	} {
		f.fail(99, test.of, test.fault)
		access := access
		if strings.Contains(test.says, "sent more") {
			access.Limits.Window = 10 * time.Second // for it is not slow, however busy the machine is
		}
		began := time.Now()
		var err error
		if test.push {
			commit(t, s, layer(t, s, nil, "f", label), "other")
			_, err = s.Push(t.Context(), "other", f.host+"/app:2", PushOptions{}, access)
		} else {
			_, err = open(t).Pull(t.Context(), f.host+"/app:1", platform.Platform{}, access) // s has the layers
		}
		if !errors.Is(err, registry.ErrRegistry) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", label, err, test.says)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: it took %v", label, took)
		}
	}
}

// What a server says is bounded.
func TestLongErrors(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	f := newFaulty(t)
	f.fail(99, "GET /v2/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"errors": [{"code": "DENIED", "message": %q}]}`, strings.Repeat("x", 60<<10))
	})
	_, err := s.Pull(t.Context(), f.host+"/app:1", platform.Platform{}, insecure(registry.Access{}))
	if !errors.Is(err, registry.ErrRegistry) || len(err.Error()) > 3000 {
		t.Errorf("%d bytes: %.300v", len(err.Error()), err)
	}
}

// An error of a registry says what its caller can do about it.
func TestReasons(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	private, plain := newRegistry(t, "me"), newRegistry(t, "")
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	secure := tls.Listener.Addr().String()
	for name, test := range map[string]struct {
		ref    string
		access registry.Access
		reason string
		host   string
	}{
		"no login":      {private.host + "/a", insecure(registry.Access{}), registry.ReasonLogin, private.host},
		"http":          {plain.host + "/a", registry.Access{}, registry.ReasonHTTP, plain.host},
		"a certificate": {secure + "/a", registry.Access{}, registry.ReasonCertificate, secure},
		"a closed port": {"127.0.0.1:1/a", insecure(registry.Access{}), "", "127.0.0.1:1"},
	} {
		_, err := s.Pull(t.Context(), test.ref, platform.Platform{}, test.access)
		var failed *registry.Error
		if !errors.As(err, &failed) || failed.Reason != test.reason || failed.Host != test.host || !errors.Is(err, registry.ErrRegistry) {
			t.Errorf("%s: got %+v (%v), want %q", name, failed, err, test.reason)
		}
	}
	_, err := s.Pull(t.Context(), plain.host+"/a", platform.Platform{}, insecure(registry.Access{}))
	if !errors.Is(err, ErrNotFound) || errors.Is(err, registry.ErrRegistry) {
		t.Errorf("it is not there: got %v", err)
	}
}

// A short name that may be several images is not taken from just anywhere.
func TestShortNames(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	one, two := newRegistry(t, ""), newRegistry(t, "")
	pushed(t, s, two, "", "a:1")
	lists := fmt.Sprintf("unqualified-search-registries = [%q, %q]\n", one.host+"", two.host)
	for name, test := range map[string]struct {
		conf string
		ref  string
		says []string // nil is success
	}{
		"enforcing":             {lists + "short-name-mode = \"enforcing\"\n", "a:1", []string{"enforcing", one.host + "/a:1", two.host + "/a:1"}},
		"permissive":            {lists + "short-name-mode = \"permissive\"\n", "a:1", nil},
		"disabled":              {lists + "short-name-mode = \"disabled\"\n", "a:1", nil},
		"none said":             {lists, "a:1", nil},
		"enforcing, one":        {fmt.Sprintf("unqualified-search-registries = [%q]\nshort-name-mode = \"enforcing\"\n", two.host), "a:1", nil},
		"enforcing, an alias":   {lists + fmt.Sprintf("short-name-mode = \"enforcing\"\n[aliases]\na = %q\n", two.host+"/a"), "a:1", nil},
		"enforcing, in full":    {lists + "short-name-mode = \"enforcing\"\n", two.host + "/a:1", nil},
		"an empty list":         {"unqualified-search-registries = []\n", "a:1", []string{"lists none", "docker.io/library/a:1"}},
		"an empty list, alias":  {fmt.Sprintf("unqualified-search-registries = []\n[aliases]\na = %q\n", two.host+"/a"), "a:1", nil},
		"a file that is broken": {"unqualified-search-registries = 7\n", "a:1", []string{"registries.conf"}},
		"all fail":              {fmt.Sprintf("unqualified-search-registries = [%q, %q]\n", one.host, "127.0.0.1:1"), "a:1", []string{one.host + "/a:1", "127.0.0.1:1/a:1"}},
	} {
		path := filepath.Join(home, strings.ReplaceAll(name, " ", "_"))
		t.Setenv("CONTAINERS_REGISTRIES_CONF", authtest.Write(t, path, test.conf))
		_, err := s.Pull(t.Context(), test.ref, platform.Platform{}, insecure(registry.Access{}))
		if (err == nil) != (test.says == nil) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, text := range test.says {
			if err != nil && (!strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "registry-1.docker.io")) {
				t.Errorf("%s: got %v, want %q in it", name, err, text)
			}
		}
	}
}

// A home that cannot be written to, or that is not there, is no reason to fail.
func TestNoHome(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	commit(t, s, layer(t, s, nil, "f", "one"), "app")
	t.Setenv("XDG_CACHE_HOME", "")
	for _, dir := range []string{"/proc/1/nothing", "/dev/null"} { // nothing can be made there
		t.Setenv("HOME", dir)
		t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
		if _, err := s.find("app"); err != nil {
			t.Errorf("HOME=%s: %v", dir, err)
		}
		if _, err := s.find("none"); !errors.Is(err, ErrNotFound) {
			t.Errorf("HOME=%s: %v", dir, err)
		}
	}
	t.Setenv("HOME", home)
}

// The aliases that Podman keeps for a user count, and where there are none, nothing is made for them.
func TestOwnAliases(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	host := newRegistry(t, "").host
	commit(t, s, layer(t, s, nil, "f", "one"), host+"/a:1")
	cache := filepath.Join(home, "cache")
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000") // also for root, whose are the machine's
	t.Setenv("CONTAINERS_REGISTRIES_CONF", authtest.Write(t, filepath.Join(home, "registries.conf"), "unqualified-search-registries = []\n"))
	if _, err := s.find("a:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("without an alias: %v", err)
	}
	if _, err := os.Stat(cache); err == nil {
		t.Errorf("%s was made", cache)
	}
	authtest.Write(t, filepath.Join(cache, "containers", "short-name-aliases.conf"), fmt.Sprintf("[aliases]\na = %q\n", host+"/a"))
	if _, err := s.find("a:1"); err != nil {
		t.Errorf("with an alias: %v", err)
	}
}

// Only some transports are known, and the others are not taken for names on Docker Hub.
func TestTransports(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	img := commit(t, s, layer(t, s, nil, "f", "one"), "app")
	for _, ref := range []string{"docker-daemon:app:latest", "ostree:app", "atomic:app/b", "sif:app", "tarball:app", "containers-storage:other"} {
		if _, err := s.Push(t.Context(), "app", ref, PushOptions{}, registry.Access{}); !errors.Is(err, imageref.ErrInvalid) || !strings.Contains(err.Error(), "oci-archive:FILE") {
			t.Errorf("push to %s: %v", ref, err)
		}
		_, err := s.Pull(t.Context(), ref, platform.Platform{}, registry.Access{})
		if strings.HasPrefix(ref, imageref.OwnStore) {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("pull of %s: %v", ref, err)
			}
		} else if !errors.Is(err, imageref.ErrInvalid) || !strings.Contains(err.Error(), "oci-archive:FILE") {
			t.Errorf("pull of %s: %v", ref, err)
		}
	}
	if got, err := s.Pull(t.Context(), "containers-storage:app", platform.Platform{}, registry.Access{}); err != nil || got.ID != img.ID {
		t.Errorf("pull from the store itself: %+v, %v", got, err)
	}
	dir := t.TempDir()
	for _, dest := range []string{"oci:" + dir + "/o:x", "oci-archive:" + dir + "/oa:x", "docker-archive:" + dir + "/da:x:1", "dir:" + dir + "/d"} {
		if _, err := s.Push(t.Context(), "containers-storage:app", dest, PushOptions{}, registry.Access{}); err != nil {
			t.Errorf("push to %s: %v", dest, err)
		}
	}
	for _, dest := range []string{"oci:" + dir + "/none/o:x", "dir:" + dir + "/none/d"} {
		if _, err := s.Push(t.Context(), "app", dest, PushOptions{}, registry.Access{}); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "make the directory that is to hold it first") {
			t.Errorf("push to %s: %v", dest, err)
		}
		if _, err := s.Pull(t.Context(), dest, platform.Platform{}, registry.Access{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("pull from %s: %v", dest, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("%v, %v", left, err)
	}
}
