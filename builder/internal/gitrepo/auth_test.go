//go:build linux

package gitrepo

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const header = "bearer TOKEN"

// guard lets only those in who have the header.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != header {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "not with %q", got)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fetchWith is checkout with an authorization.
func fetchWith(t *testing.T, text, authorization string) (map[string]string, error) {
	t.Helper()
	ref, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	ref.Authorization = authorization
	ref = ref.Settle(t.Context())
	found, err := ref.Resolve(t.Context())
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	err = ref.Checkout(t.Context(), found, true, t.TempDir(), dir)
	if config, _ := os.ReadFile(filepath.Join(dir, ".git/config")); strings.Contains(string(config), "TOKEN") {
		t.Errorf(".git/config: %s", config)
	}
	return list(t, dir), err
}

func TestAuthorization(t *testing.T) {
	r := newRepos(t)
	r.commit("r", map[string]string{"f": "1"})
	url := r.serve(guard)
	leaked := false
	public := r.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			leaked = leaked || r.Header.Get("Authorization") != ""
			next.ServeHTTP(w, r)
		})
	})
	moved := func(to string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(to+r.URL.RequestURI(), "/old", "/r", 1), http.StatusMovedPermanently)
		})
	}
	leaving := httptest.NewServer(guard(moved(public)))
	defer leaving.Close()
	renamed := r.serve(func(next http.Handler) http.Handler {
		return guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/old") {
				moved("").ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		}))
	})
	lost := httptest.NewServer(guard(http.RedirectHandler("/elsewhere", http.StatusFound)))
	defer lost.Close()
	// A git that tells its arguments, where everybody can read them.
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >>" + bin + "/log\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	for _, ref := range []string{url + "/r.git", leaving.URL + "/old.git", renamed + "/old.git"} {
		if files, err := fetchWith(t, ref, header); err != nil || files["f"] != "1" {
			t.Errorf("%s: got %v, %v", ref, files, err)
		}
	}
	if leaked {
		t.Error("the header went to another server")
	}
	for ref, says := range map[string]string{url + "/r.git": "403", lost.URL + "/r.git": "none of a repository"} {
		authorization := header
		if says == "403" {
			authorization = "bearer WRONG"
		}
		_, err := fetchWith(t, ref, authorization)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "TOKEN") || strings.Contains(err.Error(), "WRONG") {
			t.Errorf("%s: got %v, want %q", ref, err, says)
		}
	}
	log, err := os.ReadFile(filepath.Join(bin, "log"))
	if err != nil || !strings.Contains(string(log), "ls-remote") || strings.Contains(string(log), "TOKEN") {
		t.Errorf("git's arguments: %s (%v)", log, err)
	}
}

func TestScope(t *testing.T) {
	for text, want := range map[string]string{
		"https://github.com/a/b.git": "https://github.com/", "https://h:1/a/b.git": "https://h:1/a/b.git", "https://u:p@h/b.git": "https://h/b.git",
		"https://github.com.evil/b.git": "https://github.com.evil/b.git",
	} {
		ref, err := Parse(text)
		if got := ref.scope(); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}
