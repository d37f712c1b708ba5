// Package retry does again what failed for a reason that may pass: a server that is busy
// or restarting, or a connection that broke.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Policy says how often and after what time something is tried again. The zero value is
// Default.
type Policy struct {
	// Times is how often it is tried again; 0 is 3, and a negative number is never.
	Times int
	// Delay is the time before that, which doubles each time; 0 is two seconds.
	Delay time.Duration
	// Notice is told that it will be tried again, and why; it may be nil.
	Notice func(text string) `json:"-"`
}

// The values for zero, which are Podman's and Buildah's, and the longest delay.
const (
	defaultTimes = 3
	defaultDelay = 2 * time.Second
	maxDelay     = time.Minute
)

// Do calls f until it succeeds, fails for good, or has been tried often enough. It gives
// f's last error. What was tried often enough by a Do within f is not tried again. temporary says whether an error may pass, and after what time; 0 leaves
// that to the policy.
func (p Policy) Do(ctx context.Context, what string, temporary func(error) (after time.Duration, ok bool), f func() error) error {
	times, delay := p.Times, p.Delay
	if times == 0 {
		times = defaultTimes
	}
	if delay <= 0 {
		delay = defaultDelay
	}
	for try := 1; ; try++ {
		err := f()
		if err == nil || ctx.Err() != nil || errors.As(err, new(*spentError)) {
			return err
		}
		after, ok := temporary(err)
		switch {
		case !ok:
			return err
		case try > times:
			return &spentError{err}
		}
		wait := min(max(delay, after), maxDelay)
		if p.Notice != nil {
			p.Notice(fmt.Sprintf("%s failed: %v; trying again in %v (%d of %d)", what, err, wait, try, times))
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		delay *= 2
	}
}

// spentError is what was tried often enough.
type spentError struct{ error }

func (e *spentError) Unwrap() error { return e.error }

// StatusError is an answer of an http server that is none of success.
type StatusError struct {
	Code   int
	Status string
	After  time.Duration // of its Retry-After; 0 without one
}

func (e *StatusError) Error() string { return "the server answered " + e.Status }

// Status makes an error of an answer.
func Status(resp *http.Response) *StatusError {
	e := &StatusError{Code: resp.StatusCode, Status: resp.Status}
	text := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		e.After = time.Duration(min(seconds, 3600)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		e.After = max(0, time.Until(at))
	}
	return e
}

// TemporaryStatus says whether a server that answers so may answer otherwise later.
func TemporaryStatus(code int) bool {
	return code >= 500 && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported ||
		code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}

// Temporary says whether an error of an http transfer may pass: some answers, connections
// that broke or could not be made in time, and answers that were cut short. What a server
// refuses for good, certificates, unknown hosts and closed ports are none of these.
func Temporary(err error) (after time.Duration, ok bool) {
	var status *StatusError
	if errors.As(err, &status) {
		return status.After, TemporaryStatus(status.Code)
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return 0, name.IsTimeout || name.IsTemporary
	}
	if errors.Is(err, context.Canceled) {
		return 0, false
	}
	for _, broken := range []error{io.ErrUnexpectedEOF, io.EOF, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT, net.ErrClosed} {
		if errors.Is(err, broken) {
			return 0, true
		}
	}
	var timeout net.Error
	return 0, errors.As(err, &timeout) && timeout.Timeout()
}
