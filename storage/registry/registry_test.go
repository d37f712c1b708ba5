package registry

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

func TestGuardPlain(t *testing.T) {
	conf := "[[registry]]\nlocation = \"named.example\"\ninsecure = true\n[[registry]]\nlocation = \"safe.example\"\n[[registry.mirror]]\nlocation = \"mirror.example:5000/x\"\ninsecure = true\n"
	file := filepath.Join(t.TempDir(), "plain.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", file)
	sys := Access{}.SystemContext()
	named := mustParse(t, "safe.example/a")
	places, err := pullPlaces(sys, named)
	if err != nil {
		t.Fatal(err)
	}
	guard := guardPlain(sys, places)
	for text, want := range map[string]bool{
		"https://safe.example/v2/": true, "http://safe.example/v2/": false, "http://token.example/": false, "http://sub.safe.example/": false,
		"http://127.0.0.1:5000/": true, "http://localhost/": true, "http://[::1]/": true, "http://localhost.evil.example/": false,
		"http://named.example/": true, "http://mirror.example:5000/": true, "http://mirror.example/": false, "http://10.0.0.1/": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := guard(u); (err == nil) != want {
			t.Errorf("%s: %v, want %t", text, err, want)
		}
	}
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	if _, err := guardPlain(sys, places)(&url.URL{Scheme: "http", Host: "safe.example"}); err != nil {
		t.Errorf("with --tls-verify=false: %v", err)
	}
}

// A registry may not send uploads, and with them the login, to another server.
func TestGuardUploads(t *testing.T) {
	asked := 0
	all := func(*url.URL) (*url.URL, error) { asked++; return nil, nil }
	for registry, urls := range map[string]map[string]bool{
		"safe.example": {
			"https://safe.example/v2/a/blobs/uploads/1": true, "https://SAFE.example:443/v2/a/blobs/uploads/1": true, "http://safe.example:80/v2/a/blobs/uploads/1": true,
			"https://safe.example:444/v2/a/blobs/uploads/1": false, "https://safe.example.evil.example/v2/a/blobs/uploads/1": false,
			"https://evil.example/x/blobs/uploads/": false, "https://cdn.example/a": true,
		},
		"docker.io":      {"https://registry-1.docker.io/v2/a/blobs/uploads/1": true, "https://docker.io/v2/a/blobs/uploads/1": false, "https://auth.docker.io/token": true},
		"127.0.0.1:5000": {"http://127.0.0.1:5000/v2/a/blobs/uploads/1": true, "http://127.0.0.1:5001/v2/a/blobs/uploads/1": false, "http://localhost:5000/v2/a/blobs/uploads/1": false},
	} {
		guard := guardUploads(registry, all)
		for text, want := range urls {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			before := asked
			if _, err := guard(u); (err == nil) != want || (asked > before) != want {
				t.Errorf("%s, %s: %v, want %t", registry, text, err, want)
			}
		}
	}
}

// A full disk, which processes of containers/storage give as a text, is no fault of the
// registry.
func TestDiskFull(t *testing.T) {
	named := mustParse(t, "h.example/a")
	for _, err := range []error{
		fmt.Errorf("writing blob: %w", syscall.ENOSPC), errors.New("unpacking failed (error: exit status 1; output: write /f: no space left on device)"), syscall.EDQUOT,
	} {
		if got := asked(Pulling, named, err); errors.Is(got, ErrRegistry) || !strings.Contains(got.Error(), "pulling h.example/a:latest: the disk is full") {
			t.Errorf("%v: got %v", err, got)
		}
		if _, again := temporary(err); again {
			t.Errorf("%v is tried again", err)
		}
	}
	if got := asked(Pulling, named, syscall.ECONNREFUSED); !errors.Is(got, ErrRegistry) {
		t.Errorf("a closed port: %v", got)
	}
}

func mustParse(t *testing.T, name string) reference.Named {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return reference.TagNameOnly(named)
}
