// Package ghatest is a cache service of GitHub Actions for tests: what its protocol says (package gha), in memory, with a blob storage on a
// server of its own. What it is sent that does not fit fails the test.
package ghatest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one.
type Server struct {
	// URL is that of the service.
	URL string
	// Service and Storage answer in place of the server when they give true; nil is none.
	Service, Storage func(w http.ResponseWriter, r *http.Request) bool

	t       testing.TB
	storage *httptest.Server

	mu      sync.Mutex
	entries []*entry
	blobs   map[string]*blob // by their numbers
	// Requests counts those of the storage, by what they are for.
	requests map[string]int
}

type entry struct {
	ref, key, version, blob string
	done                    bool
}

type blob struct {
	blocks  map[string][]byte
	content []byte
	there   bool
}

// New starts one, until the test ends.
func New(t testing.TB) *Server {
	s := &Server{t: t, blobs: map[string]*blob{}, requests: map[string]int{}}
	service := httptest.NewServer(http.HandlerFunc(s.serve))
	s.storage = httptest.NewServer(http.HandlerFunc(s.store))
	t.Cleanup(service.Close)
	t.Cleanup(s.storage.Close)
	s.URL = service.URL + "/"
	return s
}

// Access is what a Token allows of a branch's entries: 1 to read, 2 to write.
type Access struct {
	Scope      string
	Permission int
}

// Token makes a token. It is good until an hour from now.
func Token(t testing.TB, access ...Access) string {
	return TokenUntil(t, time.Now().Add(time.Hour), access...)
}

// TokenUntil makes one that is good until a time.
func TokenUntil(t testing.TB, end time.Time, access ...Access) string {
	ac, err := json.Marshal(access)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := json.Marshal(map[string]any{"ac": string(ac), "exp": end.Unix(), "nbf": 1})
	if err != nil {
		t.Fatal(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part(claims) + "." + part([]byte("signature"))
}

// Requests are those of the storage so far: "PUT", "GET", "block" and "blocklist".
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

// Keys are those of the entries that are there.
func (s *Server) Keys() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.done {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// Evict removes the entries whose keys begin with a text, as the service does with those that were not used for long.
func (s *Server) Evict(begins string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e *entry) bool { return strings.HasPrefix(e.key, begins) })
}

// Refuse answers with an error of Twirp's.
func Refuse(w http.ResponseWriter, status int, code, msg string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "msg": msg})
}

// serve is the service.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.Service != nil && s.Service(w, r) {
		return
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	method, known := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/")
	if !bearer || !known || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		s.t.Errorf("the service is asked for %s %s", r.Method, r.URL.Path)
		Refuse(w, 404, "bad_route", "no such route")
		return
	}
	var in struct {
		Key         string   `json:"key"`
		RestoreKeys []string `json:"restore_keys"`
		Version     string   `json:"version"`
		Size        int64    `json:"size_bytes,string"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Key == "" || len(in.Key) > 512 || strings.Contains(in.Key, ",") || len(in.Version) != 64 {
		s.t.Errorf("%s: %+v, %v", method, in, err)
	}
	access := readToken(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]any
	switch method {
	case "CreateCacheEntry":
		ref := access[0].Scope
		if slices.ContainsFunc(s.entries, func(e *entry) bool { return e.ref == ref && e.key == in.Key && e.version == in.Version }) {
			Refuse(w, 409, "already_exists", "cache entry with the same key, version, and scope already exists")
			return
		}
		e := &entry{ref: ref, key: in.Key, version: in.Version, blob: strconv.Itoa(len(s.blobs))}
		s.entries, s.blobs[e.blob] = append(s.entries, e), &blob{blocks: map[string][]byte{}}
		out = map[string]any{"ok": true, "signed_upload_url": s.signed(e)}
	case "FinalizeCacheEntryUpload":
		out = map[string]any{"ok": false}
		for _, e := range s.entries {
			if is := s.blobs[e.blob]; e.ref == access[0].Scope && e.key == in.Key && is.there && int64(len(is.content)) == in.Size {
				e.done, out = true, map[string]any{"ok": true, "entry_id": "7"}
			}
		}
	case "GetCacheEntryDownloadURL":
		out = map[string]any{"ok": false}
		if e := s.find(access, append([]string{in.Key}, in.RestoreKeys...), in.Version); e != nil {
			out = map[string]any{"ok": true, "signed_download_url": s.signed(e), "matched_key": e.key}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// find looks in the branches in their order, for a key and then for the newest whose key begins so.
func (s *Server) find(access []Access, keys []string, version string) *entry {
	for _, a := range access {
		for _, key := range keys {
			for _, exact := range []bool{true, false} {
				for _, e := range slices.Backward(s.entries) {
					if e.done && e.ref == a.Scope && e.version == version && (e.key == key || !exact && strings.HasPrefix(e.key, key)) {
						return e
					}
				}
			}
		}
	}
	return nil
}

func (s *Server) signed(e *entry) string { return s.storage.URL + "/b/" + e.blob + "?sig=SIGNED%2Bx" }

// readToken gives what may be written first.
func readToken(token string) (access []Access) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return []Access{{"", 3}}
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Ac string }
	_ = json.Unmarshal(raw, &claims)
	_ = json.Unmarshal([]byte(claims.Ac), &access)
	slices.SortStableFunc(access, func(a, b Access) int { return b.Permission&2 - a.Permission&2 })
	return access
}

// store is the blob storage.
func (s *Server) store(w http.ResponseWriter, r *http.Request) {
	if s.Storage != nil && s.Storage(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	b := s.blobs[strings.TrimPrefix(r.URL.Path, "/b/")]
	if r.Header.Get("Authorization") != "" || q.Get("sig") != "SIGNED+x" || b == nil {
		s.t.Errorf("the storage is asked for %s %s, with %q", r.Method, r.URL, r.Header.Get("Authorization"))
		w.WriteHeader(403)
		return
	}
	if r.Method == http.MethodGet {
		s.requests["GET"]++
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(b.content)))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b.content)))
		return
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("x-ms-version") == "" {
		s.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	switch q.Get("comp") {
	case "":
		s.requests["PUT"]++
		if r.Header.Get("x-ms-blob-type") != "BlockBlob" {
			w.WriteHeader(400)
			return
		}
		b.content, b.there = raw, true
	case "block":
		s.requests["block"]++
		b.blocks[q.Get("blockid")] = raw
	case "blocklist":
		s.requests["blocklist"]++
		var list struct {
			XMLName xml.Name `xml:"BlockList"`
			Latest  []string
		}
		if err := xml.Unmarshal(raw, &list); err != nil {
			s.t.Error(err)
		}
		b.content = nil
		for _, id := range list.Latest {
			is, ok := b.blocks[id]
			if !ok {
				w.WriteHeader(400)
				return
			}
			b.content = append(b.content, is...)
		}
		b.there = true
	}
	w.WriteHeader(http.StatusCreated)
}
