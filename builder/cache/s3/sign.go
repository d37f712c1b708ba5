package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// sign signs a request, whose path and query are written as in escape, in version 4 of AWS's way
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html): all that it has is in the signature.
func (c *Config) sign(r *http.Request, content []byte, now time.Time) {
	const long, short, algorithm = "20060102T150405Z", "20060102", "AWS4-HMAC-SHA256"
	now = now.UTC()
	r.Header.Set("X-Amz-Date", now.Format(long))
	r.Header.Set("X-Amz-Content-Sha256", sum(content))
	if c.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", c.SessionToken)
	}
	names, headers := []string{"host"}, map[string]string{"host": r.URL.Host}
	for name := range r.Header {
		name := strings.ToLower(name)
		names, headers[name] = append(names, name), strings.TrimSpace(r.Header.Get(name))
	}
	slices.Sort(names)
	signed := strings.Join(names, ";")
	canonical := []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery}
	for _, name := range names {
		canonical = append(canonical, name+":"+headers[name])
	}
	canonical = append(canonical, "", signed, r.Header.Get("X-Amz-Content-Sha256"))
	scope := strings.Join([]string{now.Format(short), c.Region, "s3", "aws4_request"}, "/")
	text := strings.Join([]string{algorithm, now.Format(long), scope, sum([]byte(strings.Join(canonical, "\n")))}, "\n")
	key := []byte("AWS4" + c.SecretAccessKey)
	for _, part := range append(strings.Split(scope, "/"), text) {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	r.Header.Set("Authorization", algorithm+" Credential="+c.AccessKeyID+"/"+scope+", SignedHeaders="+signed+", Signature="+hex.EncodeToString(key))
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}
