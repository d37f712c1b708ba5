//go:build linux

package storage

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	fakeregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/oakum-build/oakum/storage/authfile"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// registryServer is a registry on this machine that remembers who asked.
type registryServer struct {
	host string
	mu   sync.Mutex
	seen []string // user:password of all requests that had any
}

// newRegistry serves a registry that wants a user and password, unless user is "".
func newRegistry(t *testing.T, user string) *registryServer {
	t.Helper()
	r := &registryServer{}
	images := fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name, password, _ := req.BasicAuth()
		if name != "" { // who has none is sent as nobody
			r.mu.Lock()
			r.seen = append(r.seen, name+":"+password)
			r.mu.Unlock()
		}
		if user != "" && name != user {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	r.host = s.Listener.Addr().String()
	return r
}

// saw gives the logins that were sent, once each.
func (r *registryServer) saw() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.seen)
	return slices.Compact(r.seen)
}

// insecure lets the test go by http to its registries.
func insecure(a registry.Access) registry.Access {
	verify := false
	a.TLSVerify = &verify
	return a
}

// pushed puts an image into a registry under a name, and removes it from the store.
func pushed(t *testing.T, s *Store, r *registryServer, user, name string) {
	t.Helper()
	commit(t, s, layer(t, s, nil, "f", name), "pushed")
	_, err := s.Push(t.Context(), "pushed", r.host+"/"+name, PushOptions{}, insecure(registry.Access{Username: user, Password: "pw"}))
	if err == nil {
		_, err = s.Remove("pushed", true, false)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// found finds logins as the user's process would.
func found(logins map[string]authfile.Login) func(context.Context, string, []string) (authfile.Logins, error) {
	return func(_ context.Context, _ string, repositories []string) (authfile.Logins, error) {
		out := authfile.Logins{Found: map[string]authfile.Login{}}
		for _, r := range repositories {
			if l, ok := logins[strings.Split(r, "/")[0]]; ok {
				out.Found[r] = l
			}
		}
		return out, nil
	}
}

// Credentials go to the registry that they are for, and to no other.
func TestCredentialsStayWithTheirRegistry(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	mine, other, mirror := newRegistry(t, "me"), newRegistry(t, "you"), newRegistry(t, "mirror")
	pushed(t, s, mine, "me", "a:1")
	pushed(t, s, other, "you", "b:1")
	pushed(t, s, mirror, "mirror", "c:1")
	for _, r := range []*registryServer{mine, other, mirror} {
		r.seen = nil
	}
	creds := insecure(registry.Access{Username: "me", Password: "pw", Host: mine.host})
	if _, err := s.PullBase(t.Context(), mine.host+"/a:1", platform.Platform{}, creds); err != nil {
		t.Error(err)
	}
	if _, err := s.PullBase(t.Context(), other.host+"/b:1", platform.Platform{}, creds); !errors.Is(err, registry.ErrRegistry) {
		t.Errorf("another registry: %v", err)
	}
	if _, err := s.RemoteDigest(t.Context(), other.host+"/b:1", creds); !errors.Is(err, registry.ErrRegistry) {
		t.Errorf("a digest of another registry: %v", err)
	}
	if _, err := s.Push(t.Context(), mine.host+"/a:1", other.host+"/a:1", PushOptions{}, creds); !errors.Is(err, registry.ErrRegistry) {
		t.Errorf("a push to another registry: %v", err)
	}
	creds.Logins = found(map[string]authfile.Login{other.host: {Username: "you", Password: "pw"}})
	if _, err := s.PullBase(t.Context(), other.host+"/b:1", platform.Platform{}, creds); err != nil {
		t.Errorf("another registry with a login of its own: %v", err)
	}

	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", mine.host, mirror.host)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", authtest.Write(t, filepath.Join(home, "mirrors.conf"), conf))
	creds.Logins = nil
	if _, err := s.PullBase(t.Context(), mine.host+"/c:1", platform.Platform{}, creds); !errors.Is(err, registry.ErrRegistry) {
		t.Errorf("a mirror that wants another login: %v", err)
	}
	if got := mirror.saw(); len(got) > 0 {
		t.Errorf("the mirror saw %q", got)
	}
	creds.Logins = found(map[string]authfile.Login{mirror.host: {Username: "mirror", Password: "pw"}})
	if _, err := s.PullBase(t.Context(), mine.host+"/c:1", platform.Platform{}, creds); err != nil {
		t.Errorf("a mirror with a login of its own: %v", err)
	}
	for r, want := range map[*registryServer]string{mine: "me:pw", other: "you:pw", mirror: "mirror:pw"} {
		if got := r.saw(); !slices.Equal(got, []string{want}) {
			t.Errorf("%s saw %q, want %q alone", r.host, got, want)
		}
	}
}

// A short name may lead to several registries, so that it says of none that it is meant.
func TestCredentialsWithShortNames(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	one, two := newRegistry(t, ""), newRegistry(t, "me")
	conf := fmt.Sprintf("unqualified-search-registries = [%q, %q]\nshort-name-mode = \"disabled\"\n", one.host, two.host)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", authtest.Write(t, filepath.Join(home, "two.conf"), conf))
	_, err := s.Pull(t.Context(), "a", platform.Platform{}, insecure(registry.Access{Username: "me", Password: "pw"}))
	if !errors.Is(err, imageref.ErrInvalid) || len(one.saw())+len(two.saw()) > 0 {
		t.Errorf("got %v; seen: %q, %q", err, one.saw(), two.saw())
	}
}

// A registry that names plain http elsewhere for its tokens gets no login there.
func TestTokensOverPlainHTTP(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	asked := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = true
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://token.invalid/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	host := server.Listener.Addr().String()
	certs := t.TempDir()
	authtest.Write(t, filepath.Join(certs, "ca.crt"), certificate(server))
	_, err := s.Pull(t.Context(), host+"/a", platform.Platform{}, registry.Access{Username: "me", Password: "pw", Host: host, CertDir: certs})
	if err == nil || !asked || !strings.Contains(err.Error(), "not sent over http to token.invalid") {
		t.Errorf("got %v", err)
	}
}

// certificate is a server's own, in PEM.
func certificate(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}
