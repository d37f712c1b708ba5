package gha

import (
	"net/url"
	"testing"
)

// A service that is reached over TLS leads to nothing that anybody on the way could read or change.
func TestSigned(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		service, signed string
		good            bool
	}{
		{"https", "https://storage/x?sig=y", true},
		{"https", "http://storage/x?sig=y", false},
		{"http", "http://storage/x?sig=y", true},
		{"http", "https://storage/x?sig=y", true},
		{"http", "file:///etc/passwd", false},
		{"https", "", false},
		{"https", "https://%zz", false},
	} {
		s := service{base: &url.URL{Scheme: test.service, Host: "service"}}
		if err := s.checkSigned(test.signed); (err == nil) != test.good {
			t.Errorf("%s, %q: %v", test.service, test.signed, err)
		}
	}
}
