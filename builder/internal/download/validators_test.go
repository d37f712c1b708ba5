package download

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A file is known to be the same only by what the server says of the very file: what
// another answer says in between, older or newer, is another file.
func TestValidators(t *testing.T) {
	const (
		old   = "Wed, 21 Oct 2015 07:28:00 GMT"
		newer = "Thu, 22 Oct 2015 07:28:00 GMT"
	)
	type file struct{ headers, body string }
	tests := []struct {
		name          string
		first, second file
		status        int // of the second answer, if it was asked with a validator
		unchanged     bool
		sent          string // of conditions
	}{
		{"the same time", file{"Last-Modified: " + old, "a"}, file{"Last-Modified: " + old, "a"}, 200, true, ""},
		{"a newer time", file{"Last-Modified: " + old, "a"}, file{"Last-Modified: " + newer, "b"}, 200, false, ""},
		{"an older time", file{"Last-Modified: " + newer, "a"}, file{"Last-Modified: " + old, "b"}, 200, false, ""},
		{"the same time and another size", file{"Last-Modified: " + old, "a"}, file{"Last-Modified: " + old, "bb"}, 200, false, ""},
		{"the same ETag", file{"ETag: \"1\"", "a"}, file{"ETag: \"1\"", "a"}, 304, true, `"1"`},
		{"the same ETag, from a server that does not compare", file{"ETag: \"1\"", "a"}, file{"ETag: \"1\"", "a"}, 200, true, `"1"`},
		{"another ETag", file{"ETag: \"1\"", "a"}, file{"ETag: \"2\"", "b"}, 200, false, `"1"`},
		{"another ETag of the same time", file{"ETag: \"1\"\nLast-Modified: " + old, "a"}, file{"ETag: \"2\"\nLast-Modified: " + old, "b"}, 200, false, `"1"`},
		{"the same ETag and another time", file{"ETag: \"1\"\nLast-Modified: " + newer, "a"}, file{"ETag: \"1\"\nLast-Modified: " + old, "a"}, 304, false, `"1"`},
		{"not modified, but with another ETag", file{"ETag: \"1\"", "a"}, file{"ETag: \"2\"", "b"}, 304, false, `"1"`},
		{"an ETag instead of a time", file{"Last-Modified: " + old, "a"}, file{"ETag: \"1\"\nLast-Modified: " + old, "b"}, 200, false, ""},
		{"a weak ETag", file{"ETag: W/\"1\"", "a"}, file{"ETag: W/\"1\"", "b"}, 304, false, ""},
		{"a weak ETag and a time", file{"ETag: W/\"1\"\nLast-Modified: " + old, "a"}, file{"ETag: W/\"1\"\nLast-Modified: " + old, "a"}, 304, true, ""},
		{"an answer that varies by who asks", file{"Last-Modified: " + old + "\nVary: Accept, Authorization", "a"}, file{"Last-Modified: " + old + "\nVary: Accept, Authorization", "b"}, 200, false, ""},
		{"nothing", file{"", "a"}, file{"", "b"}, 200, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			now, sent := test.first, ""
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				for line := range strings.Lines(now.headers) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
					w.Header().Set(name, value)
				}
				if condition := r.Header.Get("If-None-Match") + r.Header.Get("If-Modified-Since"); condition != "" {
					if sent = condition; test.status == 304 {
						w.WriteHeader(http.StatusNotModified)
						return
					}
				}
				fmt.Fprint(w, now.body)
			})
			_, first, err := get(t, Request{URL: s.URL}, "")
			if err != nil {
				t.Fatal(err)
			}
			now = test.second
			body, second, err := get(t, Request{URL: s.URL, Known: first.Validators, Modified: first.Modified}, "")
			if err != nil || second.Unchanged != test.unchanged || sent != test.sent {
				t.Errorf("got %+v, %v, asked with %q", second, err, sent)
			}
			if !test.unchanged && body != test.second.body {
				t.Errorf("got %q", body)
			}
		})
	}
}

// What a redirect leads to is another file when it leads elsewhere.
func TestValidatorsOfAnotherResource(t *testing.T) {
	target := "/a"
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, target+fmt.Sprintf("?signature=%d", time.Now().UnixNano()), http.StatusFound)
			return
		}
		w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
		w.Header().Set("ETag", `"same"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, r.URL.Path)
	})
	_, first, err := get(t, Request{URL: s.URL}, "")
	if err != nil {
		t.Fatal(err)
	}
	req := Request{URL: s.URL, Known: first.Validators, Modified: first.Modified}
	if _, again, err := get(t, req, ""); err != nil || !again.Unchanged {
		t.Errorf("got %+v, %v", again, err)
	}
	target = "/b"
	if body, other, err := get(t, req, ""); err != nil || other.Unchanged || body != "/b" {
		t.Errorf("got %q, %+v, %v", body, other, err)
	}
}
