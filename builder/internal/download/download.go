// Package download fetches files over http and https for a build. Servers are hostile:
// redirects are bounded and stay with the two protocols, credentials go to the host that
// they were given for, and what is cut short or never ends is an error.
package download

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/storage/retry"
	"github.com/oakum-build/oakum/storage/stall"
)

const (
	maxRedirects = 10
	// maxHeader bounds the header of an answer.
	maxHeader = 128 << 10
	// patience bounds a request whose answer has no body of interest.
	patience = time.Minute
)

// Request is what is asked for. Known and Modified are those of a copy that is there
// already, if there is one.
type Request struct {
	URL      string
	Known    Validators
	Modified time.Time
	// Authorization, when not "", is the header of that name for the URL's server.
	Authorization string
	// Limits are how slow and how large the answer may be; the zero value is the default.
	Limits stall.Limits
}

// Result is what came.
type Result struct {
	// Unchanged says that the copy that is there already is still the file.
	Unchanged  bool
	Validators Validators
	Modified   time.Time // as the server says; the epoch if it does not
	SHA256     string    // hex
}

// Error is a download that failed.
type Error struct {
	URL string // without a password
	Err error
}

func (e *Error) Error() string { return e.URL + ": " + e.Err.Error() }

// Unwrap gives errdefs.ErrFetch and the cause.
func (e *Error) Unwrap() []error { return []error{errdefs.ErrFetch, e.Err} }

// Check gives an error for what is not the URL of a file to download.
func Check(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("not a URL") // the error would show a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%s is not an http or https URL", u.Redacted())
	}
	name := Name(text)
	if name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%s: %q cannot be the name of a file", u.Redacted(), name)
	}
	return nil
}

// Name is the file name that a URL stands for: the last component of its path, or
// BuildKit's name for a file without one.
func Name(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return unnamed
	}
	if base := path.Base(u.Path); base != "." && base != "/" {
		return base
	}
	return unnamed
}

const unnamed = "__unnamed__"

// Redacted is a URL without its password.
func Redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	return u.Redacted()
}

// GuardCredentials gives an *Error for a URL to whose server no credentials may be sent:
// one over plain http, unless it is this machine.
func GuardCredentials(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || loopback(u.Hostname()) {
		return nil
	}
	return &Error{u.Redacted(), errors.New("credentials are not sent over http, where everybody on the way can read them; use https, or name no credentials for this host")}
}

// loopback says that a host can only be this machine.
func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Get writes a file to w, and checks its digest unless want is "". The error, when not
// the context's or w's, is an *Error.
func Get(ctx context.Context, req Request, w io.Writer, want digest.Digest) (Result, error) {
	outer := ctx
	ctx, stop := stall.Watch(ctx, req.Limits)
	defer stop()
	fail := func(err error) error {
		err = stall.Cause(ctx, err)
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its text has the URL again
		}
		return &Error{Redacted(req.URL), req.hide(err)}
	}
	resp, err := request(ctx, req)
	if err != nil {
		return Result{}, fail(err)
	}
	defer resp.Body.Close()
	res := Result{Validators: validators(resp), Modified: time.Unix(0, 0)}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		res.Modified = t
	}
	verdict := req.Known.judge(resp, res.Modified, req.Modified)
	switch {
	case verdict == unchanged:
		res.Unchanged = true
		return res, nil
	case verdict == unclear && req.Known.known():
		req.Known = Validators{}
		return Get(outer, req, w, want)
	case resp.StatusCode != http.StatusOK:
		return Result{}, fail(retry.Status(resp))
	}
	most := cmp.Or(req.Limits.Most, stall.Default.Most)
	body := &watched{r: io.LimitReader(resp.Body, most+1)}
	to, verified := w, func() bool { return true }
	if want != "" {
		v := want.Verifier()
		to, verified = io.MultiWriter(v, w), v.Verified
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, to), body)
	switch {
	case body.err != nil && !errors.Is(body.err, io.EOF):
		return Result{}, fail(cutShort(body.err))
	case err != nil:
		return Result{}, err
	case n > most:
		return Result{}, fail(fmt.Errorf("the file is larger than %d bytes", most))
	case !verified():
		return Result{}, fail(fmt.Errorf("the file's digest is not %s but sha256:%x", want, h.Sum(nil)))
	}
	res.SHA256 = hex.EncodeToString(h.Sum(nil))
	return res, nil
}

func cutShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the file was cut short: %w", err)
	}
	return err
}

// watched notes the reader's errors.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.err = err
	return n, err
}

func request(ctx context.Context, req Request) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, req.URL, nil)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if req.Authorization != "" {
		r.Header.Set("Authorization", req.Authorization)
	}
	r.URL.Fragment, r.URL.RawFragment = "", ""
	r.Header.Set("User-Agent", "oakum")
	req.Known.conditional(r)
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // the file is wanted as it is stored
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}
	client := &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	return client.Do(r)
}

// Final says where a URL leads after all redirects, and whether the authorization may go
// there.
func Final(ctx context.Context, req Request) (final string, authorized bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := request(ctx, req)
	if err != nil {
		return "", false, err
	}
	resp.Body.Close()
	return resp.Request.URL.String(), resp.Request.Header.Get("Authorization") != "", nil
}

// checkRedirect takes credentials no further than to the server that they are for, and
// refuses to take those of a URL from https to http.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return fmt.Errorf("a redirect to %s://", r.URL.Scheme)
	}
	last := via[len(via)-1]
	if last.URL.Scheme == "https" && r.URL.Scheme == "http" && via[0].URL.User != nil {
		return errors.New("a redirect from https to http of a URL with credentials")
	}
	if last.Header.Get("Authorization") == "" || !sameServer(last.URL, r.URL) {
		r.Header.Del("Authorization")
	}
	return nil
}

// sameServer is stricter than net/http, for which a subdomain and another port are the
// same. https is the same as http before it.
func sameServer(from, to *url.URL) bool {
	ports := map[string]string{"http": "80", "https": "443"}
	port := func(u *url.URL) string { return cmp.Or(u.Port(), ports[u.Scheme]) }
	upgrade := from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
	return strings.EqualFold(from.Hostname(), to.Hostname()) && (upgrade || from.Scheme == to.Scheme && port(from) == port(to))
}

// hide takes the authorization out of an error, into which a server can bring it.
func (req Request) hide(err error) error {
	text := err.Error()
	if hidden := Hide(text, req.Authorization); hidden != text {
		return errors.New(hidden)
	}
	return err
}

// Hide takes the value of an Authorization header out of a text, and its last word.
func Hide(text, authorization string) string {
	word := authorization[strings.LastIndexByte(authorization, ' ')+1:]
	for _, secret := range []string{authorization, word} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "xxxxx")
		}
	}
	return text
}
