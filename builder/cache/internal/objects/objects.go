// Package objects is what places for caches have in common that keep content as objects of a service, over http: requests that are made
// again, in bounded time, and whose errors have no secrets.
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oakum-build/oakum/storage/retry"
	"github.com/oakum-build/oakum/storage/stall"
)

// Client makes requests of one service.
type Client struct {
	// Name is what messages call the service.
	Name string
	// Retry is how often a request is made again that failed for a reason that may pass.
	Retry retry.Policy
	// Timeout is how long what Watch watches may take.
	Timeout time.Duration

	http *http.Client
}

const (
	// MaxAnswer is what is read of an answer that is no object.
	MaxAnswer = 64 << 10
	// maxResumes is how often reading an object goes on after its connection broke.
	maxResumes = 10
)

// New makes a Client. It follows no redirect: a redirect is an answer, so that what lets in goes nowhere else.
func New(name string, again retry.Policy, timeout time.Duration) *Client {
	return &Client{name, again, timeout, &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    30 * time.Second,
			IdleConnTimeout:        10 * time.Second,
			MaxResponseHeaderBytes: 128 << 10,
			DisableCompression:     true, // an object is wanted as it is kept
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Watch bounds what is done under a context, until end.
func (c *Client) Watch(ctx context.Context) (watched context.Context, end func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("it took longer than %v", c.Timeout))
	watched, stop := stall.Watch(ctx, stall.Limits{})
	return watched, func() { stop(); cancel() }
}

// Do makes a request, again while what fails may pass. take gets the answer, whatever it is, and its body. A success that has more than
// MaxAnswer bytes is an error, and of others the rest is cut off.
func (c *Client) Do(ctx context.Context, build func() (*http.Request, error), take func(resp *http.Response, text []byte) error) error {
	return c.Retry.Do(ctx, "asking "+c.Name, retry.Temporary, func() error {
		resp, err := c.send(ctx, build)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
		switch success := resp.StatusCode/100 == 2; {
		case success && err != nil:
			return c.Failed(ctx, err)
		case success && len(text) > MaxAnswer:
			return fmt.Errorf("%s answers with more than %d bytes", c.Name, MaxAnswer)
		}
		return take(resp, text)
	})
}

func (c *Client) send(ctx context.Context, build func() (*http.Request, error)) (*http.Response, error) {
	req, err := build()
	if err != nil {
		return nil, fmt.Errorf("%s: an address that is none", c.Name) // the error would show it
	}
	req.Header.Set("User-Agent", "oakum")
	resp, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return nil, c.Failed(ctx, err)
	}
	return resp, nil
}

// Failed is the error of a request without an answer. Addresses may let in, so it has the host's name only.
func (c *Client) Failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", c.Name, cause)
	}
	var is *url.Error
	if !errors.As(err, &is) {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	host := c.Name
	if u, bad := url.Parse(is.URL); bad == nil {
		host = u.Host
	}
	return fmt.Errorf("%s: %w", host, is.Err)
}

// Read opens an object. When its connection breaks another one is made, and reading goes on where it was. refused makes an error of an answer that is
// none of success. end is called when the object is closed, or this fails.
func (c *Client) Read(ctx context.Context, build func() (*http.Request, error), refused func(resp *http.Response, text []byte) error, end func()) (io.ReadCloser, error) {
	b := &body{client: c, ctx: ctx, build: build, refused: refused, end: end}
	if err := b.open(); err != nil {
		end()
		return nil, err
	}
	return b, nil
}

// body reads an object.
type body struct {
	client  *Client
	ctx     context.Context
	build   func() (*http.Request, error)
	refused func(*http.Response, []byte) error
	end     func()
	from    io.ReadCloser
	at      int64
	etag    string
	resumed int
}

// open opens it where it was read to, again while what fails may pass.
func (b *body) open() error {
	c := b.client
	return c.Retry.Do(b.ctx, "reading from "+c.Name, retry.Temporary, func() error {
		resp, err := c.send(b.ctx, func() (*http.Request, error) {
			req, err := b.build()
			if err == nil && b.at > 0 {
				req.Header.Set("Range", "bytes="+strconv.FormatInt(b.at, 10)+"-")
				if b.etag != "" {
					req.Header.Set("If-Match", b.etag)
				}
			}
			return req, err
		})
		if err != nil {
			return err
		}
		want := http.StatusOK
		if b.at > 0 {
			want = http.StatusPartialContent
		}
		switch {
		case resp.StatusCode != want:
			text, _ := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
			err = b.refused(resp, text)
		case b.at > 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.at)):
			err = fmt.Errorf("%s: reading goes on where it was not asked to", c.Name)
		}
		if err != nil {
			resp.Body.Close()
			return err
		}
		b.from, b.etag = resp.Body, resp.Header.Get("ETag")
		return nil
	})
}

// Read reads on, over connections that break.
func (b *body) Read(to []byte) (int, error) {
	n, err := b.from.Read(to)
	b.at += int64(n)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	err = b.client.Failed(b.ctx, err)
	if _, passes := retry.Temporary(err); !passes || b.ctx.Err() != nil || b.at == 0 || b.resumed == maxResumes {
		return n, err
	}
	b.resumed++
	_ = b.from.Close()
	if err := b.open(); err != nil {
		b.from = io.NopCloser(failing{err})
		return n, err
	}
	return n, nil
}

// failing is what is read after reading could not go on.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Close ends it.
func (b *body) Close() error {
	err := b.from.Close()
	b.end()
	return err
}

// Pieces has send send content of a size in pieces, which it keeps in memory one after the other. One of at most piece bytes is sent in one;
// there are at most most of them. The content must end where it should, without an error, before the last one is sent.
func Pieces(content io.Reader, size, piece, most int64, send func(number int, piece []byte) error) error {
	piece = max(piece, (size+most-1)/most)
	buffer := make([]byte, min(size, piece))
	for number, left := 0, size; ; number++ {
		buffer = buffer[:min(left, piece)]
		left -= int64(len(buffer))
		if err := fill(content, buffer, left == 0); err != nil {
			return fmt.Errorf("reading what is to be kept: %w", err)
		}
		if err := send(number, buffer); err != nil || left == 0 {
			return err
		}
	}
}

// fill fills a buffer, after whose last the content must end as it should.
func fill(content io.Reader, buffer []byte, last bool) error {
	if _, err := io.ReadFull(content, buffer); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if !last {
		return nil
	}
	n, err := io.ReadFull(content, make([]byte, 1))
	switch {
	case n > 0:
		return errors.New("it is longer than it should be")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
