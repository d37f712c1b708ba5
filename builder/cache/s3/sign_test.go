package s3

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The first is the example of AWS's page on signatures; the others are what its SDK for Go gives (aws/signer/v4, with DisableURIPathEscaping).
func TestSign(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequest(http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=0-9")
	c := Config{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Region: "us-east-1"}
	c.sign(r, nil, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41") {
		t.Errorf("AWS's example: %s", got)
	}
	const begins, signed = "AWS4-HMAC-SHA256 Credential=AKID/20261126/eu-west-1/s3/aws4_request, SignedHeaders=", "host;x-amz-content-sha256;x-amz-date"
	for _, test := range []struct{ method, url, body, token, want string }{
		{"GET", "https://the-bucket.s3.eu-west-1.amazonaws.com/blobs/sha256%3Aabc", "", "", "81bdfd0165d11b220f314e9969b659352040044ae4aa911a2027ba6509598e4e"},
		{"HEAD", "http://localhost:9000/the-bucket/ci%20cache%2B%C3%BC/oakum/oakum", "", "TOKEN/+=", "8c4bf46d26687747472573238ee0dbd9a27130bba53395ecb94f9e687e4a0eb9"},
		{"PUT", "https://the-bucket.s3.eu-west-1.amazonaws.com/a", "content", "", "d36bfbc825416dd2f6d53de1aa60d0ed71b3a33563344d21c40828a497ada7b2"},
		{"PUT", "https://the-bucket.s3.eu-west-1.amazonaws.com/a?partNumber=12&uploadId=a%26b%3D0%2F%2B%20c", "part", "TOKEN", "26bb70f62c47154ff7e5e6289f6cd38b9b8121b39f7b0fa6a1fe1aea7c1d4c14"},
		{"POST", "https://the-bucket.s3.eu-west-1.amazonaws.com/a?uploads=", "", "", "f4866c418a3177ff2b7a237040ebe869c5187814f2adb6039b99b8f82c9656c2"},
	} {
		r, err := http.NewRequest(test.method, test.url, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		headers := signed
		if test.token != "" {
			headers += ";x-amz-security-token"
		}
		c := Config{AccessKeyID: "AKID", SecretAccessKey: "SECRET", SessionToken: test.token, Region: "eu-west-1"}
		c.sign(r, []byte(test.body), time.Date(2026, 11, 26, 13, 30, 45, 0, time.FixedZone("", 3600)))
		if got, want := r.Header.Get("Authorization"), begins+headers+", Signature="+test.want; got != want {
			t.Errorf("%s %s:\n%s\n%s", test.method, test.url, got, want)
		}
	}
}

// Requests have the paths and queries that are signed.
func TestRequest(t *testing.T) {
	t.Parallel()
	p, err := Open(Config{Region: "r", Bucket: "b", AccessKeyID: "a", SecretAccessKey: "s", Prefix: "ci cache+ü/"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.request(t.Context(), "PUT", "sha256:ab", map[string][]string{"uploadId": {"a+b c/="}}, nil)()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.URL.RequestURI(), "/ci%20cache%2B%C3%BC/blobs/sha256%3Aab?uploadId=a%2Bb%20c%2F%3D"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
