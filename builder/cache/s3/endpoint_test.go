package s3

import "testing"

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Region: "eu-west-1", Bucket: "b"}, "https://b.s3.eu-west-1.amazonaws.com"},
		{Config{Region: "cn-north-1", Bucket: "b"}, "https://b.s3.cn-north-1.amazonaws.com.cn"},
		{Config{Region: "eu-west-1", Bucket: "a.b"}, "https://s3.eu-west-1.amazonaws.com/a.b"},
		{Config{Region: "eu-west-1", Bucket: "b", PathStyle: true}, "https://s3.eu-west-1.amazonaws.com/b"},
		{Config{Region: "x", Bucket: "b", Endpoint: "http://localhost:9000/", PathStyle: true}, "http://localhost:9000/b"},
		{Config{Region: "x", Bucket: "b", Endpoint: "https://minio.example"}, "https://b.minio.example"},
	} {
		if got, err := endpoint(test.config); got.String() != test.want || err != nil {
			t.Errorf("%+v: %s, %v", test.config, got.String(), err)
		}
	}
}
