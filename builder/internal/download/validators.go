package download

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// Validators tell whether a file that was downloaded is still the server's. They are
// compared for being the same, and never by which is newer: a server may go back to an
// older file (RFC 9110, 8.8).
type Validators struct {
	ETag         string // a strong one, which differs when a byte does
	LastModified string // where there is no strong ETag, and if it tells one file from the next
	Size         int64  // -1 when the server does not say
	From         string // which resource gave them, after redirects
}

// known says that there is a validator.
func (v Validators) known() bool { return v.ETag != "" || v.LastModified != "" }

// conditional adds what lets a server answer that an ETag is still right. There is
// nothing like it for the time: If-Modified-Since asks for a newer file.
func (v Validators) conditional(r *http.Request) {
	if v.ETag != "" {
		r.Header.Set("If-None-Match", v.ETag)
	}
}

// validators are those of an answer, which also count when it is that nothing changed.
func validators(resp *http.Response) Validators {
	v := Validators{Size: resp.ContentLength, From: resource(resp.Request)}
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		v.ETag = tag
		return v
	}
	for _, vary := range resp.Header.Values("Vary") {
		// Who asks with other credentials may get another file of the same time.
		if vary = strings.ToLower(vary); strings.Contains(vary, "*") || strings.Contains(vary, "authorization") {
			return v
		}
	}
	// A file that changed in this second may change again in it (RFC 9110, 8.8.2.2). Both
	// times are the server's.
	modified, err := http.ParseTime(resp.Header.Get("Last-Modified"))
	now, noDate := http.ParseTime(resp.Header.Get("Date"))
	if err == nil && noDate == nil && now.Sub(modified) >= 2*time.Second {
		v.LastModified = resp.Header.Get("Last-Modified")
	}
	return v
}

// resource names what an answer is of, without the queries and credentials that some
// servers make for each request.
func resource(r *http.Request) string {
	sum := sha256.Sum256([]byte(r.URL.Scheme + "://" + r.URL.Host + r.URL.EscapedPath()))
	return hex.EncodeToString(sum[:])
}

// answer is what an answer to a request with validators means.
type answer int

const (
	changed   answer = iota // the body is the file
	unchanged               // the file is the one that is known
	unclear                 // the server says so, but of another file; ask without validators
)

// judge judges an answer by what was known before.
func (v Validators) judge(resp *http.Response, modified, known time.Time) answer {
	got := validators(resp)
	same := v.known() && got.From == v.From && modified.Equal(known)
	switch {
	case resp.StatusCode == http.StatusNotModified:
		// It need not repeat the headers.
		if v.ETag == "" || got.From != v.From || got.ETag != "" && got.ETag != v.ETag ||
			resp.Header.Get("Last-Modified") != "" && !modified.Equal(known) {
			return unclear
		}
		return unchanged
	case resp.StatusCode == http.StatusOK && same && got.ETag == v.ETag && got.LastModified == v.LastModified && got.Size == v.Size:
		return unchanged
	}
	return changed
}
