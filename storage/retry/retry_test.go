package retry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDo(t *testing.T) {
	for name, test := range map[string]struct {
		times, fails, calls int
		err                 error
		ok                  bool
	}{
		"success":           {0, 0, 1, io.ErrUnexpectedEOF, true},
		"once":              {0, 1, 2, io.ErrUnexpectedEOF, true},
		"three times":       {0, 3, 4, io.ErrUnexpectedEOF, true},
		"too often":         {0, 9, 4, io.ErrUnexpectedEOF, false},
		"five times":        {5, 5, 6, io.ErrUnexpectedEOF, true},
		"never":             {-1, 9, 1, io.ErrUnexpectedEOF, false},
		"an error for good": {0, 1, 1, errors.New("forbidden"), false},
		"a busy server":     {0, 2, 3, &StatusError{Code: 503}, true},
		"a server's no":     {0, 2, 1, &StatusError{Code: 404}, false},
	} {
		calls, notices := 0, 0
		p := Policy{Times: test.times, Delay: time.Millisecond, Notice: func(text string) {
			notices++
			if !strings.HasPrefix(text, "pulling x failed: ") || !strings.Contains(text, "trying again in ") {
				t.Errorf("%s: %s", name, text)
			}
		}}
		err := p.Do(t.Context(), "pulling x", Temporary, func() error {
			if calls++; calls <= test.fails {
				return test.err
			}
			return nil
		})
		if calls != test.calls || notices != calls-1 || (err == nil) != test.ok {
			t.Errorf("%s: %d calls, %d notices, %v", name, calls, notices, err)
		}
	}
}

func TestDoIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	began := time.Now()
	err := Policy{Delay: time.Hour}.Do(ctx, "x", Temporary, func() error { return io.ErrUnexpectedEOF })
	if !errors.Is(err, io.ErrUnexpectedEOF) || time.Since(began) > time.Minute {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestTemporary(t *testing.T) {
	for _, err := range []error{
		&StatusError{Code: 500}, &StatusError{Code: 502}, &StatusError{Code: 503}, &StatusError{Code: 504}, &StatusError{Code: 429}, &StatusError{Code: 408},
		io.ErrUnexpectedEOF, &url.Error{Err: io.EOF}, &net.OpError{Err: syscall.ECONNRESET}, fmt.Errorf("x: %w", syscall.EPIPE),
		&net.DNSError{IsTimeout: true}, &net.DNSError{IsTemporary: true}, &url.Error{Err: context.DeadlineExceeded},
	} {
		if _, ok := Temporary(err); !ok {
			t.Errorf("%v (%T) is for good", err, err)
		}
	}
	for _, err := range []error{
		&StatusError{Code: 400}, &StatusError{Code: 401}, &StatusError{Code: 403}, &StatusError{Code: 404}, &StatusError{Code: 501}, &StatusError{Code: 301},
		context.Canceled, &url.Error{Err: context.Canceled}, &net.OpError{Err: syscall.ECONNREFUSED}, &net.DNSError{IsNotFound: true}, &url.Error{Err: x509.UnknownAuthorityError{}},
		errors.New("x"),
	} {
		if _, ok := Temporary(err); ok {
			t.Errorf("%v (%T) may pass", err, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "999999": time.Hour, "x": 0, "Wed, 21 Oct 2015 07:28:00 GMT": 0} {
		if got := Status(&http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {text}}}).After; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	soon := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	if got := Status(&http.Response{Header: http.Header{"Retry-After": {soon}}}).After; got < 50*time.Second || got > time.Minute {
		t.Errorf("%q: %v", soon, got)
	}
}
