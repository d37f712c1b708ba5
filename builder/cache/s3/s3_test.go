package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/s3"
)

// bucket is a service with one bucket. It takes what is signed as it should be.
type bucket struct {
	t   testing.TB
	url string
	// instead answers in place of the service when it gives true; nil is none.
	instead func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	objects map[string][]byte
	parts   map[string]map[int][]byte // by the ids of uploads
	asked   map[string]int
}

func newBucket(t testing.TB) *bucket {
	b := &bucket{t: t, objects: map[string][]byte{}, parts: map[string]map[int][]byte{}, asked: map[string]int{}}
	s := httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

const key, secret, session = "AKID", "SECRETKEY", "SESSION"

func (b *bucket) open(t testing.TB, change func(*s3.Config)) *s3.Place {
	t.Helper()
	c := s3.Config{Region: "eu-x-1", Bucket: "the-bucket", Endpoint: b.url, PathStyle: true, AccessKeyID: key, SecretAccessKey: secret,
		SessionToken: session, Prefix: "ci cache+ü/", RetryDelay: time.Millisecond, Retries: 1}
	if change != nil {
		change(&c)
	}
	p, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signed says whether a request has a signature of what it has. TestSign compares signatures with AWS's.
func signed(r *http.Request, body []byte) bool {
	return strings.Contains(r.Header.Get("Authorization"), "Credential="+key+"/") && r.Header.Get("X-Amz-Content-Sha256") == digest.FromBytes(body).Encoded() &&
		r.Header.Get("X-Amz-Security-Token") == session
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, code)
}

// locked does something once no request is answered any more, for the client has an answer before that has ended.
func (b *bucket) locked(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

func (b *bucket) serve(w http.ResponseWriter, r *http.Request) {
	var instead func(w http.ResponseWriter, r *http.Request) bool
	b.locked(func() { instead = b.instead })
	if instead != nil && instead(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || !signed(r, body) {
		b.t.Errorf("%s %s is not signed as it should be, %v", r.Method, r.RequestURI, err)
		refuse(w, 403, "SignatureDoesNotMatch")
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := strings.CutPrefix(r.URL.Path, "/the-bucket/")
	if !ok {
		refuse(w, 404, "NoSuchBucket")
		return
	}
	q := r.URL.Query()
	id := q.Get("uploadId")
	what := r.Method
	switch {
	case q.Has("uploads"):
		what = "begin"
		id := fmt.Sprintf("a&b=%d/+", len(b.parts))
		b.parts[id] = map[int][]byte{}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", strings.ReplaceAll(id, "&", "&amp;"))
	case id != "" && b.parts[id] == nil:
		refuse(w, 404, "NoSuchUpload")
	case r.Method == http.MethodDelete:
		delete(b.parts, id)
		w.WriteHeader(204)
	case q.Has("partNumber"):
		what = "part"
		n, _ := strconv.Atoi(q.Get("partNumber"))
		b.parts[id][n] = body
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
	case id != "":
		what = "end"
		var all, list []byte
		for _, n := range slices.Sorted(maps.Keys(b.parts[id])) {
			all = append(all, b.parts[id][n]...)
			list = fmt.Appendf(list, "<Part><PartNumber>%d</PartNumber><ETag>&#34;%d&#34;</ETag></Part>", n, n)
		}
		if string(body) != "<CompleteMultipartUpload>"+string(list)+"</CompleteMultipartUpload>" {
			b.t.Errorf("the parts are %s", body)
		}
		b.objects[name] = all
		delete(b.parts, id)
		fmt.Fprint(w, "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
	case r.Method == http.MethodPut:
		b.objects[name] = body
	default:
		content, there := b.objects[name]
		if !there {
			refuse(w, 404, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(content)))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	b.asked[what]++
}

func read(t testing.TB, p cache.Place, name string) (string, error) {
	body, err := p.Get(t.Context(), name)
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(body)
	return string(raw), errors.Join(err, body.Close())
}

// What is put is there, large objects in parts; and another manifest takes the place of the one before.
func TestPlace(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	p := b.open(t, nil)
	contents := map[string][]byte{cache.ManifestName: []byte("manifest")}
	for _, content := range [][]byte{[]byte("small"), {}, bytes.Repeat([]byte("0123456789abcdef"), 17<<20/16)} {
		contents[digest.FromBytes(content).String()] = content
	}
	for name, content := range contents {
		if has, err := p.Has(t.Context(), name); has || err != nil {
			t.Errorf("%s: %v, %v before it was put", name, has, err)
		}
		if _, err := read(t, p, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: reading what is not there: %v", name, err)
		}
		if err := p.Put(t.Context(), name, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if has, err := p.Has(t.Context(), name); !has || err != nil {
			t.Errorf("%s: %v, %v after it was put", name, has, err)
		}
		if got, err := read(t, p, name); got != string(content) || err != nil {
			t.Errorf("%s: %d bytes are others, %v", name, len(content), err)
		}
	}
	b.locked(func() {
		if got := fmt.Sprint(b.asked); got != "map[GET:4 HEAD:4 PUT:3 begin:1 end:1 part:3]" {
			t.Error(got)
		}
	})
	if err := p.Put(t.Context(), cache.ManifestName, 3, strings.NewReader("two")); err != nil {
		t.Error(err)
	}
	if got, err := read(t, p, cache.ManifestName); got != "two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if has, err := b.open(t, func(c *s3.Config) { c.Name = "another" }).Has(t.Context(), cache.ManifestName); has || err != nil {
		t.Errorf("another cache: %v, %v", has, err)
	}
	b.locked(func() {
		if b.objects["ci cache+ü/oakum/oakum"] == nil {
			t.Errorf("%q are there", slices.Collect(maps.Keys(b.objects)))
		}
	})
}

// Nothing is kept of what ends early or with an error, nor in parts.
func TestPutFails(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	p := b.open(t, nil)
	large := strings.Repeat("x", 9<<20)
	for _, bad := range []struct {
		size    int64
		content io.Reader
	}{
		{7, strings.NewReader("cont")},
		{7, strings.NewReader("contentcontent")},
		{int64(len(large)) + 1, strings.NewReader(large)},
		{int64(len(large)), io.MultiReader(strings.NewReader(large), strings.NewReader("x"))},
	} {
		if err := p.Put(t.Context(), digest.FromString("x").String(), bad.size, bad.content); err == nil {
			t.Error("content that is not what it should be was taken")
		}
	}
	b.locked(func() {
		if len(b.objects)+len(b.parts) > 0 {
			t.Errorf("%d objects and %d uploads are there", len(b.objects), len(b.parts))
		}
	})
}

// What passes is tried again, what does not is an error without secrets, and no redirect is followed.
func TestBadService(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s, with %q", r.URL, r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	for name, test := range map[string]struct {
		status int
		code   string
		region string
		says   string // "" passes
	}{
		"busy":           {503, "SlowDown", "", ""},
		"too many":       {429, "", "", ""},
		"a late error":   {200, "InternalError", "", ""},
		"refused":        {403, "AccessDenied", "", "AccessDenied"},
		"no bucket":      {404, "NoSuchBucket", "", "NoSuchBucket"},
		"another region": {301, "PermanentRedirect", "eu-y-2", `the bucket is in the region "eu-y-2"`},
		"a redirect":     {307, "TemporaryRedirect", "", "307"},
		"no XML":         {400, "</Code><Code>", "", "400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBucket(t)
			p := b.open(t, nil)
			failed := false // b.mu guards it
			b.instead = func(w http.ResponseWriter, r *http.Request) bool {
				b.mu.Lock()
				defer b.mu.Unlock()
				if failed && test.says == "" || r.URL.Query().Get("uploadId") == "" && test.status == 200 || r.URL.Query().Has("partNumber") {
					return false
				}
				failed = true
				w.Header().Set("Location", elsewhere.URL)
				w.Header().Set("X-Amz-Bucket-Region", test.region)
				refuse(w, test.status, test.code)
				return true
			}
			content := strings.Repeat("x", 9<<20)
			err := p.Put(t.Context(), digest.FromString(content).String(), int64(len(content)), strings.NewReader(content))
			b.locked(func() {
				if (err == nil) != (test.says == "") || !strings.Contains(fmt.Sprint(err), test.says) || !failed {
					t.Errorf("%v, want %q", err, test.says)
				}
			})
			if text := fmt.Sprint(err); strings.Contains(text, secret) || strings.Contains(text, session) {
				t.Errorf("a secret is in %q", text)
			}
			if _, err := read(t, p, digest.FromString("y").String()); err == nil || errors.Is(err, fs.ErrNotExist) != (test.says == "") {
				t.Errorf("reading what is not there: %v", err)
			}
		})
	}
}

// A connection that breaks is made again where it was.
func TestReadGoesOn(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	p := b.open(t, nil)
	content := strings.Repeat("0123456789", 1000)
	name := digest.FromString(content).String()
	if err := p.Put(t.Context(), name, int64(len(content)), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	b.locked(func() {
		b.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				return false
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = io.WriteString(w, content[:5000])
			return true
		}
	})
	if got, err := read(t, p, name); got != content || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Where a bucket is, and what cannot be one.
func TestOpen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*s3.Config)
		says   string
	}{
		"good":            {func(c *s3.Config) {}, ""},
		"no region":       {func(c *s3.Config) { c.Region = "" }, "no region"},
		"no bucket":       {func(c *s3.Config) { c.Bucket = "" }, "no bucket"},
		"no key":          {func(c *s3.Config) { c.AccessKeyID = "" }, "no access key"},
		"no secret":       {func(c *s3.Config) { c.SecretAccessKey = "" }, "no secret access key"},
		"a bucket's path": {func(c *s3.Config) { c.Bucket = "a/../b" }, "cannot be one"},
		"a host":          {func(c *s3.Config) { c.Region = "x.example/" }, "cannot be one"},
		"another scheme":  {func(c *s3.Config) { c.Endpoint = "file:///x" }, "no URL"},
		"a user":          {func(c *s3.Config) { c.Endpoint = "https://u:SECRETKEY@x/" }, "no URL"},
		"a long name":     {func(c *s3.Config) { c.Prefix = strings.Repeat("x", 1000) }, "at most 1024"},
	} {
		c := s3.Config{Region: "r", Bucket: "b", AccessKeyID: "a", SecretAccessKey: secret}
		test.change(&c)
		_, err := s3.Open(c)
		if (err == nil) != (test.says == "") || !strings.Contains(fmt.Sprint(err), test.says) || strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
