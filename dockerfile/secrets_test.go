package dockerfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/dockerfile"
)

// secretMap are secrets by id.
type secretMap map[string]string

func (m secretMap) Secret(_ context.Context, id string) ([]byte, error) {
	value, ok := m[id]
	if !ok {
		return nil, dockerfile.ErrNoSecret
	}
	if value == "broken" {
		return nil, errors.New("the vault is closed")
	}
	return []byte(value), nil
}

// guarded is web behind a server that wants to see an Authorization header.
func guarded(t *testing.T, authorization string, files map[string]string, repos map[string]map[string]string) *url.URL {
	t.Helper()
	behind, err := url.Parse(web(t, files, repos))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != authorization {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Secrets let ADD and contexts in, and are found nowhere afterwards.
func TestCredentials(t *testing.T) {
	const basic = "basic eC1hY2Nlc3MtdG9rZW46UGE1NXdvcmQ=" // x-access-token:Pa55word
	files := map[string]string{"/f": "f", "/ctx.tgz": archive(t, contextFiles(t, "")), "/Dockerfile": "FROM scratch\nLABEL a=b\n"}
	repos := map[string]map[string]string{"r": contextFiles(t, "")}
	bearer, whole := guarded(t, "Bearer Pa55word", files, nil), guarded(t, "Secret Pa55word", files, repos)
	git := guarded(t, basic, nil, repos)
	t.Setenv("TMPDIR", t.TempDir())
	b := open(t)
	var shown bytes.Buffer
	opts := func(secrets secretMap, o dockerfile.Options) dockerfile.Options {
		o.Credentials.Secrets = secrets
		o.Progress = func(e dockerfile.Event) { fmt.Fprintln(&shown, e.Instruction, e.Text, e.Err) }
		return o
	}
	token, headers := secretMap{"HTTP_AUTH_TOKEN_127.0.0.1": "Pa55word\n", "HTTP_AUTH_HEADER_127.0.0.1": "Other"}, secretMap{"HTTP_AUTH_HEADER_127.0.0.1": "Secret Pa55word"}
	hosts := secretMap{"GIT_AUTH_HEADER." + whole.Host: "Secret Pa55word", "GIT_AUTH_TOKEN": "WRONG", "GIT_AUTH_TOKEN." + git.Host: "Pa55word"}
	build(t, b, fmt.Sprintf("FROM scratch\nADD %s/f /f\nADD --keep-git-dir=true %s/r.git /r/\nADD %s/r.git#:d /d/\nCOPY --from=n f /n\n", bearer, whole, git),
		opts(secretMap{"HTTP_AUTH_TOKEN_127.0.0.1": "Pa55word", "GIT_AUTH_HEADER." + whole.Host: "Secret Pa55word", "GIT_AUTH_TOKEN": "Pa55word"},
			dockerfile.Options{Context: dockerfile.Context{Named: map[string]string{"n": git.String() + "/r.git#:d"}, Dir: t.TempDir()}}))
	for name, o := range map[string]dockerfile.Options{
		"archive":        opts(token, dockerfile.Options{Context: dockerfile.Context{URL: bearer.String() + "/ctx.tgz"}}),
		"by a header":    opts(headers, dockerfile.Options{Context: dockerfile.Context{URL: whole.String() + "/Dockerfile"}}),
		"the Dockerfile": opts(headers, dockerfile.Options{Context: dockerfile.Context{Dir: t.TempDir()}, File: dockerfile.File{Path: whole.String() + "/Dockerfile"}}),
		"git":            opts(hosts, dockerfile.Options{Context: dockerfile.Context{URL: git.String() + "/r.git"}}),
		"git, a header":  opts(hosts, dockerfile.Options{Context: dockerfile.Context{URL: whole.String() + "/r.git"}}),
	} {
		if _, err := dockerfile.Build(t.Context(), b, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		secrets secretMap
		says    string
		source  string
	}{
		"no secret":           {nil, "401 Unauthorized", ""},
		"another host":        {secretMap{"HTTP_AUTH_TOKEN_localhost": "Pa55word"}, "401 Unauthorized", ""},
		"an empty one":        {secretMap{"HTTP_AUTH_TOKEN_127.0.0.1": ""}, "401 Unauthorized", ""},
		"a broken one":        {secretMap{"HTTP_AUTH_TOKEN_127.0.0.1": "broken"}, "secret HTTP_AUTH_TOKEN_127.0.0.1: the vault is closed", ""},
		"several lines":       {secretMap{"HTTP_AUTH_TOKEN_127.0.0.1": "Pa55\nword"}, "secret HTTP_AUTH_TOKEN_127.0.0.1: invalid argument: it has several lines", ""},
		"a token for no host": {secretMap{"GIT_AUTH_TOKEN": "Pa55word", "GIT_AUTH_HEADER": basic}, "call it GIT_AUTH_HEADER." + git.Host, git.String() + "/r.git"},
		"a token over http":   {secretMap{"GIT_AUTH_TOKEN.host.invalid": "Pa55word"}, "not sent over http", "http://host.invalid/r.git"},
		"a header over http":  {secretMap{"HTTP_AUTH_HEADER_host.invalid": "Pa55word"}, "not sent over http", "http://host.invalid/f"},
	} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		source := bearer.String() + "/none"
		if test.source != "" {
			source = test.source
		}
		if err := os.WriteFile(file, []byte("FROM scratch\nADD "+source+" /f\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := dockerfile.Build(t.Context(), b, opts(test.secrets, dockerfile.Options{File: dockerfile.File{Path: file}}))
		var fault *dockerfile.Error
		if !errors.As(err, &fault) || fault.Line != 2 || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
		fmt.Fprintln(&shown, err)
	}
	for _, secret := range []string{"Pa55", basic[6:]} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("shown: %s", shown.String())
		}
		notIn(t, os.Getenv("TMPDIR"), secret)
	}
}

// notIn fails the test when a file below a directory has a text, or is called so.
func notIn(t *testing.T, dir, text string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it belongs to another user
		}
		data, err := os.ReadFile(path)
		if seen++; err == nil && (bytes.Contains(data, []byte(text)) || strings.Contains(path, text)) && !strings.HasSuffix(path, "/busybox") {
			t.Errorf("%s has the secret", path)
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d files looked at, %v", seen, err)
	}
}
