package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/retry"
	"github.com/oakum-build/oakum/storage/stall"
)

func get(t *testing.T, req Request, want digest.Digest) (string, Result, error) {
	t.Helper()
	var out bytes.Buffer
	res, err := Get(t.Context(), req, &out, want)
	return out.String(), res, err
}

func serve(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func TestGet(t *testing.T) {
	const modified = "Wed, 21 Oct 2015 07:28:00 GMT"
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Last-Modified", modified)
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if r.Header.Get("Accept-Encoding") != "" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		fmt.Fprint(w, "content")
	})
	body, res, err := get(t, Request{URL: s.URL + "/f#fragment"}, digest.FromString("content"))
	if err != nil || body != "content" || res.SHA256 != digest.FromString("content").Encoded() || res.Unchanged {
		t.Fatalf("got %q, %+v, %v", body, res, err)
	}
	if res.Validators.ETag != `"v1"` || res.Modified.Unix() != 1445412480 {
		t.Errorf("got %+v", res)
	}
	body, res, err = get(t, Request{URL: s.URL + "/f", Known: res.Validators, Modified: res.Modified}, "")
	if err != nil || body != "" || !res.Unchanged {
		t.Errorf("got %q, %+v, %v", body, res, err)
	}
	_, _, err = get(t, Request{URL: s.URL}, digest.FromString("other"))
	if err == nil || !strings.Contains(err.Error(), "digest is not "+digest.FromString("other").String()) {
		t.Errorf("got %v", err)
	}
}

// A file without a time has the epoch, and one that has just changed no validator.
func TestModified(t *testing.T) {
	for header, want := range map[string]string{"": "", "yesterday": "", "now GMT": "", "Wed, 21 Oct 2015 07:28:00 GMT": "Wed, 21 Oct 2015 07:28:00 GMT"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if header == "now GMT" {
				now := time.Now().UTC().Format(http.TimeFormat)
				w.Header().Set("Last-Modified", now)
				w.Header().Set("Date", now)
				return
			}
			w.Header().Set("Last-Modified", header)
		})
		_, res, err := get(t, Request{URL: s.URL}, "")
		if err != nil || res.Validators.LastModified != want || strings.HasSuffix(header, "GMT") != (res.Modified.Unix() != 0) {
			t.Errorf("%q: got %+v, %v", header, res, err)
		}
	}
}

func TestGetFails(t *testing.T) {
	mux := http.NewServeMux()
	to := func(url string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url, http.StatusFound) }
	}
	mux.HandleFunc("/loop", to("/loop"))
	mux.HandleFunc("/file", to("file:///etc/passwd"))
	mux.HandleFunc("/ftp", to("ftp://example.com/f"))
	mux.HandleFunc("/gone", http.NotFound)
	mux.HandleFunc("/partial", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPartialContent) })
	mux.HandleFunc("/unasked", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "short")
	})
	mux.HandleFunc("/chunk", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "some")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s := serve(t, mux.ServeHTTP)
	for path, why := range map[string]string{
		"/loop": "more than 10 redirects", "/file": "a redirect to file://", "/ftp": "a redirect to ftp://", "/gone": "404 Not Found",
		"/partial": "206 Partial Content", "/unasked": "304 Not Modified", "/short": "the file was cut short", "/chunk": "the file was cut short",
	} {
		_, _, err := get(t, Request{URL: s.URL + path}, "")
		var failed *Error
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want %q", path, err, why)
		}
	}
}

// Credentials go to the host that they are for, and not back there from another.
func TestRedirectsDropCredentials(t *testing.T) {
	var sent []string
	note := func(r *http.Request) {
		sent = append(sent, r.Host[:1]+" "+r.URL.Path+" "+r.Header.Get("Authorization")+r.Header.Get("Referer"))
	}
	var a, b *httptest.Server
	a = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if note(r); r.URL.Path == "/1" {
			http.Redirect(w, r, strings.Replace(b.URL, "127.0.0.1", "localhost", 1)+"/2", http.StatusFound)
		}
	})
	b = serve(t, func(w http.ResponseWriter, r *http.Request) {
		note(r)
		http.Redirect(w, r, a.URL+"/3", http.StatusFound)
	})
	if _, _, err := get(t, Request{URL: strings.Replace(a.URL, "//", "//user:TOK@", 1) + "/1"}, ""); err != nil {
		t.Fatal(err)
	}
	if len(sent) != 3 || sent[0] != "1 /1 Basic dXNlcjpUT0s=" {
		t.Fatalf("got %q", sent)
	}
	for _, s := range sent[1:] {
		if strings.Contains(s, "Basic") || strings.Contains(s, "TOK") {
			t.Errorf("credentials were sent on: %q", s)
		}
	}
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
	via := httptest.NewRequest(http.MethodGet, "https://u:p@x/", nil)
	if err := checkRedirect(r, []*http.Request{via}); err == nil {
		t.Error("credentials would go from https to http")
	}
}

// An authorization goes to the server that it is for alone, and into no error.
func TestAuthorization(t *testing.T) {
	const value = "Bearer TOKEN"
	var a, b *httptest.Server
	var sent []string
	note := func(r *http.Request) { sent = append(sent, r.URL.Path+" "+r.Header.Get("Authorization")) }
	a = serve(t, func(w http.ResponseWriter, r *http.Request) {
		note(r)
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/other":
			http.Redirect(w, r, b.URL+"/back", http.StatusFound)
		case "/echo":
			conn, _, _ := w.(http.Hijacker).Hijack()
			fmt.Fprintf(conn, "HTTP/1.1 403 no %s\r\n\r\n", r.Header.Get("Authorization"))
			conn.Close()
		}
	})
	b = serve(t, func(w http.ResponseWriter, r *http.Request) {
		note(r)
		http.Redirect(w, r, a.URL+"/end", http.StatusFound)
	})
	for path, want := range map[string]string{
		"/same":  "/same Bearer TOKEN,/end Bearer TOKEN",
		"/other": "/other Bearer TOKEN,/back ,/end ",
	} {
		sent = nil
		if _, _, err := get(t, Request{URL: a.URL + path, Authorization: value}, ""); err != nil || strings.Join(sent, ",") != want {
			t.Errorf("%s: sent %q, %v", path, sent, err)
		}
	}
	_, _, err := get(t, Request{URL: a.URL + "/echo", Authorization: value}, "")
	if err == nil || strings.Contains(err.Error(), "TOKEN") || !strings.Contains(err.Error(), "403 no xxxxx") {
		t.Errorf("got %v", err)
	}
}

func TestSameServer(t *testing.T) {
	for _, test := range []struct {
		from, to string
		want     bool
	}{
		{"https://h/a", "https://h:443/b", true}, {"https://h", "https://H", true}, {"http://h", "https://h", true},
		{"https://h", "http://h", false}, {"https://h", "https://h:8443", false}, {"https://h", "https://sub.h", false},
		{"http://h:81", "https://h", false},
	} {
		from, _ := url.Parse(test.from)
		to, _ := url.Parse(test.to)
		if got := sameServer(from, to); got != test.want {
			t.Errorf("%s to %s: %t", test.from, test.to, got)
		}
	}
}

func TestGetEnds(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "some")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Get(ctx, Request{URL: s.URL}, io.Discard, "")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// short are limits for tests.
var short = stall.Limits{Window: 200 * time.Millisecond, Least: 100, Most: 1 << 16}

// A server that is silent, that dribbles, or that never ends is given up.
func TestServersWithoutEnd(t *testing.T) {
	every := func(part string, pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, part)
				w.(http.Flusher).Flush()
				time.Sleep(pause)
			}
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"silent":             {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "too slow"},
		"silent in the file": {every("some", 2*time.Second), "too slow"},
		"dribbling":          {every("x", 20*time.Millisecond), "too slow"},
		"endless":            {every(strings.Repeat("x", 4096), 0), "larger than 65536 bytes"},
		"a header of 500 kB": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 500<<10)) }, "header"},
	} {
		s := httptest.NewServer(test.handler)
		began := time.Now()
		limits := short
		if test.says != "too slow" {
			limits.Window = 10 * time.Second // for it is not slow, however busy the machine is
		}
		if test.says == "header" {
			limits.Most = 0 // the header's own counts
		}
		_, _, err := get(t, Request{URL: s.URL, Limits: limits}, "")
		var failed *Error
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), test.says) && (name != "endless" || !strings.Contains(err.Error(), "sent more than 65536 bytes")) {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: it took %v", name, took)
		}
		go s.Close() // it waits for its sleepers
	}
}

func TestRedirects(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var left int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &left); err != nil || left == 0 {
			fmt.Fprint(w, "there")
			return
		}
		http.Redirect(w, r, fmt.Sprintf("/%d", left-1), http.StatusFound)
	})
	if body, _, err := get(t, Request{URL: s.URL + "/10"}, ""); err != nil || body != "there" {
		t.Errorf("ten redirects: %q, %v", body, err)
	}
	if _, _, err := get(t, Request{URL: s.URL + "/11"}, ""); err == nil || !strings.Contains(err.Error(), "more than 10 redirects") {
		t.Errorf("eleven redirects: %v", err)
	}
}

// Whether a failure may pass is known of what comes out.
func TestTemporaryFailures(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    bool
	}{
		"busy":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, true},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, false},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "some")
		}, true},
		"reset": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}, true},
		"too slow": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	} {
		s := serve(t, test.handler)
		limits := short
		if name != "too slow" {
			limits.Window = 10 * time.Second // however busy the machine is
		}
		_, _, err := get(t, Request{URL: s.URL, Limits: limits}, "")
		if _, ok := retry.Temporary(err); err == nil || ok != test.want {
			t.Errorf("%s: %v may pass: %t", name, err, ok)
		}
	}
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	_, _, err := get(t, Request{URL: other.URL}, "")
	if _, ok := retry.Temporary(err); err == nil || ok {
		t.Errorf("a certificate: %v may pass: %t", err, ok)
	}
}

func TestGuardCredentials(t *testing.T) {
	for text, want := range map[string]bool{
		"https://h/f": true, "http://h/f": false, "HTTP://H:443/f": false, "http://localhost:5000/f": true, "http://a.localhost/f": true,
		"http://127.0.0.1/f": true, "http://127.8.9.1:1/f": true, "http://[::1]:1/f": true, "http://127.0.0.1.evil.example/f": false,
		"http://localhost.evil.example/f": false, "http://10.0.0.1/f": false, "http://0.0.0.0/f": false, "ssh://h/f": true,
	} {
		if err := GuardCredentials(text); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestErrorsHidePasswords(t *testing.T) {
	_, _, err := get(t, Request{URL: "http://user:TOK@127.0.0.1:1/f"}, "")
	if err == nil || strings.Contains(err.Error(), "TOK") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
	for _, url := range []string{"http://u:TOK@exa mple/", "http://u:TOK@/f", "ftp://u:TOK@x/f", "http://u:TOK@x/%00"} {
		if err := Check(url); err == nil || strings.Contains(err.Error(), "TOK") {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

func TestName(t *testing.T) {
	for url, want := range map[string]string{
		"http://x/a/b.txt": "b.txt", "http://x/a/b.txt?c=d/e#f": "b.txt", "http://x/a/": "a", "http://x": unnamed, "http://x/": unnamed,
		"http://x/a%20b": "a b", "http://x/%5B*%3F": "[*?", "http://x/a%2Fb": "b",
	} {
		if got := Name(url); got != want || Check(url) != nil {
			t.Errorf("%s: got %q, %v", url, got, Check(url))
		}
	}
	for _, url := range []string{
		"", "x", "file:///etc/passwd", "http://", "http:///x", "http://x/..", "http://x/a/%2e%2e", "http://x/%2e%2e%2f", "http://x/a%00", "http://x/" + strings.Repeat("a", 256), "://",
	} {
		if Check(url) == nil {
			t.Errorf("%q passes as the file %q", url, Name(url))
		}
	}
}

// FuzzCheck looks for URLs whose file name would be a path.
func FuzzCheck(f *testing.F) {
	f.Add("https://u:p@example.com/a/%2e%2e%2f?x=y#z")
	f.Add("http://[::1]:80/..")
	f.Fuzz(func(t *testing.T, url string) {
		Redacted(url)
		name := Name(url)
		if Check(url) != nil {
			return
		}
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			t.Fatalf("%q gives the file name %q", url, name)
		}
	})
}
