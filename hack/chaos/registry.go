// Package chaos is an image registry for tests, whose answers go wrong as rules say. It speaks OCI's
// distribution protocol as far as pushes and pulls do: blobs belong to repositories and are mounted
// from one to another, uploads go on in pieces, and blobs are given in ranges.
package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Registry is a registry in memory. Its methods may be called at any time.
type Registry struct {
	Host string // its address
	URL  string

	mu        sync.Mutex // guards the rest
	blobs     map[string]map[digest.Digest][]byte
	manifests map[string]map[string]manifest // by tag and by digest
	uploads   map[string][]byte
	sessions  int
	rules     []*Rule
	seen      []*Request
	serving   int
}

type manifest struct {
	mediaType string
	raw       []byte
}

// Request is one that came.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Received            int64 // bytes of its body
	Status              int   // 0 until it was answered
}

// New serves a registry that is empty, over http, until the test ends.
func New(t testing.TB) *Registry {
	r := &Registry{blobs: map[string]map[digest.Digest][]byte{}, manifests: map[string]map[string]manifest{}, uploads: map[string][]byte{}}
	s := httptest.NewServer(r)
	r.Host, r.URL = s.Listener.Addr().String(), s.URL
	t.Cleanup(func() { // an answer may never end
		s.CloseClientConnections()
		s.Listener.Close()
	})
	return r
}

// Clone serves another registry that has all that this one has.
func (r *Registry) Clone(t testing.TB) *Registry {
	c := New(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for repository, blobs := range r.blobs {
		c.blobs[repository] = maps.Clone(blobs)
	}
	for repository, manifests := range r.manifests {
		c.manifests[repository] = maps.Clone(manifests)
	}
	return c
}

// Break lets answers go wrong as rules say, instead of those of the call before, and forgets the
// requests that were seen. The first rule that an answer falls under counts.
func (r *Registry) Break(rules ...Rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules, r.seen = nil, nil
	for _, rule := range rules {
		r.rules = append(r.rules, &rule)
	}
}

// Requests are those that have come since the last Break whose method and path have a text. Rest waits for their answers.
func (r *Registry) Requests(of string) []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Request
	for _, q := range r.seen {
		if strings.Contains(q.Method+" "+q.Path, of) {
			found = append(found, *q)
		}
	}
	return found
}

// PutBlob gives a repository a blob.
func (r *Registry) PutBlob(repository string, data []byte) digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := digest.FromBytes(data)
	r.put(repository, d, data)
	return d
}

// put is for who holds the lock.
func (r *Registry) put(repository string, d digest.Digest, data []byte) {
	if r.blobs[repository] == nil {
		r.blobs[repository] = map[digest.Digest][]byte{}
	}
	r.blobs[repository][d] = data
}

// PutManifest gives a repository a manifest by a tag and by its digest; nothing in it is looked at.
func (r *Registry) PutManifest(repository, tag, mediaType string, raw []byte) digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.manifests[repository] == nil {
		r.manifests[repository] = map[string]manifest{}
	}
	d := digest.FromBytes(raw)
	for _, name := range []string{tag, d.String()} {
		if name != "" {
			r.manifests[repository][name] = manifest{mediaType, raw}
		}
	}
	return d
}

// Manifest gives what a repository has by a tag or digest; raw is nil when there is nothing.
func (r *Registry) Manifest(repository, reference string) (mediaType string, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.manifests[repository][reference]
	return m.mediaType, m.raw
}

// Copy gives a repository the manifest that another has by a tag, by the same tag, and all its blobs.
func (r *Registry) Copy(from, to, tag string) {
	mediaType, raw := r.Manifest(from, tag)
	r.PutManifest(to, tag, mediaType, raw)
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, data := range r.blobs[from] {
		r.put(to, d, data)
	}
}

// Blobs are the digests of a repository's blobs, sorted.
func (r *Registry) Blobs(repository string) []digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []digest.Digest
	for d := range r.blobs[repository] {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

// ServeHTTP is that of http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body := &counted{ReadCloser: q.Body}
	q.Body = body
	seen := &watched{ResponseWriter: w, status: http.StatusOK}
	note := &Request{Method: q.Method, Path: q.URL.Path, Query: q.URL.RawQuery, Header: q.Header}
	r.mu.Lock()
	r.serving++
	r.seen = append(r.seen, note) // now, for whoever has read the answer asks
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.serving--
		note.Received, note.Status = body.n, seen.status
	}()
	if fault := r.faultOf(q); fault != nil {
		fault(seen, q, http.HandlerFunc(r.answer))
		return
	}
	r.answer(seen, q)
}

// counted counts what is read.
type counted struct {
	io.ReadCloser
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

// watched remembers the status.
type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var route = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|blobs/uploads)/([^/]*)$`)

// answer answers as a registry should (OCI distribution specification, "Endpoints").
func (r *Registry) answer(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/v2/" {
		return
	}
	if q.URL.Path == "/token" {
		fmt.Fprint(w, `{"token": "a token"}`)
		return
	}
	parts := route.FindStringSubmatch(q.URL.Path)
	if parts == nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN")
		return
	}
	switch repository, kind, name := parts[1], parts[2], parts[3]; kind {
	case "manifests":
		r.answerManifest(w, q, repository, name)
	case "blobs":
		r.answerBlob(w, q, repository, digest.Digest(name))
	default:
		r.answerUpload(w, q, repository, name)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors": [{"code": %q, "message": "refused"}]}`, code)
}

func (r *Registry) answerManifest(w http.ResponseWriter, q *http.Request, repository, name string) {
	if q.Method == http.MethodPut {
		raw, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		if missing := r.missing(repository, raw); missing != "" {
			refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			return
		}
		d := r.PutManifest(repository, name, q.Header.Get("Content-Type"), raw)
		w.Header().Set("Docker-Content-Digest", d.String())
		w.WriteHeader(http.StatusCreated)
		return
	}
	mediaType, raw := r.Manifest(repository, name)
	if raw == nil {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(raw).String())
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	if q.Method == http.MethodGet {
		_, _ = w.Write(raw)
	}
}

// missing is a blob or image that a manifest has and its repository has not.
func (r *Registry) missing(repository string, raw []byte) digest.Digest {
	type descriptor struct {
		Digest digest.Digest
		URLs   []string
	}
	var m struct {
		Config            *descriptor
		Layers, Manifests []descriptor
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "none"
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range m.Layers {
		if _, ok := r.blobs[repository][l.Digest]; !ok && len(l.URLs) == 0 {
			return l.Digest
		}
	}
	for _, l := range m.Manifests {
		if _, ok := r.manifests[repository][l.Digest.String()]; !ok {
			return l.Digest
		}
	}
	return ""
}

func (r *Registry) answerBlob(w http.ResponseWriter, q *http.Request, repository string, d digest.Digest) {
	r.mu.Lock()
	data, ok := r.blobs[repository][d]
	r.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", d.String())
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
}

// answerUpload begins an upload, takes a piece of it, ends it, or gives it up.
func (r *Registry) answerUpload(w http.ResponseWriter, q *http.Request, repository, session string) {
	if q.Method == http.MethodPost {
		r.begin(w, q, repository)
		return
	}
	piece, err := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	got, ok := r.uploads[session]
	if !ok {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		return
	}
	got = append(got, piece...)
	r.uploads[session] = got
	location := "/v2/" + repository + "/blobs/uploads/" + session
	switch {
	case err != nil: // it was cut; what came is kept
	case q.Method == http.MethodPut:
		d := digest.Digest(q.URL.Query().Get("digest"))
		if d.Validate() != nil || d.Algorithm().FromBytes(got) != d {
			refuse(w, http.StatusBadRequest, "DIGEST_INVALID")
			return
		}
		delete(r.uploads, session)
		r.put(repository, d, got)
		w.Header().Set("Location", "/v2/"+repository+"/blobs/"+d.String())
		w.Header().Set("Docker-Content-Digest", d.String())
		w.WriteHeader(http.StatusCreated)
	case q.Method == http.MethodDelete:
		delete(r.uploads, session)
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Location", location)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(got)-1)))
		w.WriteHeader(map[bool]int{true: http.StatusAccepted, false: http.StatusNoContent}[q.Method == http.MethodPatch])
	}
}

// begin begins an upload, unless the blob is mounted.
func (r *Registry) begin(w http.ResponseWriter, q *http.Request, repository string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mount := digest.Digest(q.URL.Query().Get("mount"))
	if data, ok := r.blobs[q.URL.Query().Get("from")][mount]; ok {
		r.put(repository, mount, data)
		w.Header().Set("Location", "/v2/"+repository+"/blobs/"+mount.String())
		w.Header().Set("Docker-Content-Digest", mount.String())
		w.WriteHeader(http.StatusCreated)
		return
	}
	r.sessions++
	session := strconv.Itoa(r.sessions)
	r.uploads[session] = []byte{}
	w.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/"+session)
	w.Header().Set("Range", "0-0")
	w.WriteHeader(http.StatusAccepted)
}

// Uploads is how many uploads were begun and neither ended nor given up.
func (r *Registry) Uploads() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.uploads)
}

// Rest waits until no request is being answered, of those too whose clients are gone.
func (r *Registry) Rest(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		serving := r.serving
		r.mu.Unlock()
		if serving == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are still being answered", serving)
		}
	}
}
