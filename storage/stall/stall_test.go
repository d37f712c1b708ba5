//go:build linux

package stall

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

var short = Limits{Window: 300 * time.Millisecond, Least: 1000, Most: 1 << 20}

// patient is for a server that does its part: on a busy machine it may come to it late.
var patient = Limits{Window: 2 * time.Second, Least: 1000, Most: 1 << 20}

// transfer asks a server, and reads its answer with pauses.
func transfer(ctx context.Context, client *http.Client, url string, body io.Reader, pause time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buf := make([]byte, 32<<10)
	for {
		time.Sleep(pause)
		if _, err := resp.Body.Read(buf); err != nil {
			return errors.Join(err)
		}
	}
}

// dribble sends n bytes every so often, until the client goes.
func dribble(n int, every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", n))
			w.(http.Flusher).Flush()
			time.Sleep(every)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		upload  int
		says    string
	}{
		"a silent server":            {handler: silent, says: "too slow"},
		"one that dribbles":          {handler: dribble(1, 20*time.Millisecond), says: "too slow"},
		"one that sends without end": {handler: dribble(32<<10, 0), says: "more than 1048576 bytes"},
		"one that takes no upload":   {handler: silent, upload: 64 << 20, says: "too slow"},
		"headers that never end":     {handler: endlessHeaders, says: "too slow"},
	} {
		for scheme, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
			t.Run(name+", "+scheme, func(t *testing.T) {
				t.Parallel()
				s := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					// A server does not see that a client has gone whose upload it does not read.
					ctx, cancel := context.WithCancel(r.Context())
					defer cancel()
					defer context.AfterFunc(t.Context(), cancel)()
					test.handler(w, r.WithContext(ctx))
				}))
				t.Cleanup(s.Close)
				limits := short
				if test.says != "too slow" {
					limits = patient
				}
				ctx, stop := Watch(t.Context(), limits)
				defer stop()
				began := time.Now()
				err := Cause(ctx, transfer(ctx, s.Client(), s.URL, strings.NewReader(strings.Repeat("x", test.upload)), 0))
				var limit *Error
				if !errors.As(err, &limit) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v, want %q", err, test.says)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

// endlessHeaders sends a byte of a header now and then.
func endlessHeaders(w http.ResponseWriter, r *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: "); err != nil {
		return
	}
	for {
		if _, err := io.WriteString(conn, "x"); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What is slow for another reason than the server goes on.
func TestPatience(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 900<<10)
	for name, do := range map[string]func(context.Context, *http.Client, string) error{
		"a slow reader": func(ctx context.Context, c *http.Client, url string) error {
			return transfer(ctx, c, url, nil, 250*time.Millisecond)
		},
		"work between requests": func(ctx context.Context, c *http.Client, url string) error {
			if err := transfer(ctx, c, url, nil, 0); !errors.Is(err, io.EOF) {
				return err
			}
			time.Sleep(3 * patient.Window / 2)
			return transfer(ctx, c, url, nil, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, big[:400<<10]) }))
			t.Cleanup(s.Close)
			ctx, stop := Watch(t.Context(), patient)
			defer stop()
			if err := do(ctx, s.Client(), s.URL); !errors.Is(err, io.EOF) {
				t.Errorf("got %v (%v)", err, context.Cause(ctx))
			}
		})
	}
}

// A connection that a server leaves open does not hide one that stands still.
func TestIdleConnectionsDoNotCount(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/still" {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	ctx, stop := Watch(t.Context(), patient)
	defer stop()
	for range 3 {
		if err := transfer(ctx, s.Client(), s.URL, nil, 0); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	var limit *Error
	if err := Cause(ctx, transfer(ctx, s.Client(), s.URL+"/still", nil, 0)); !errors.As(err, &limit) {
		t.Errorf("got %v", err)
	}
}
