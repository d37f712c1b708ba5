package main

import (
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
)

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func testImages() []builder.Image {
	created := time.Now().Add(-3 * time.Hour)
	return []builder.Image{
		{ID: testID, Digest: "sha256:d1", Names: []string{"localhost/app:1.0", "reg.example:5000/app:latest"}, Created: created, Size: 4_520_000},
		{ID: "fedcba9876543210", Digest: "sha256:d2", Created: created, Size: 0},
	}
}

func TestListImages(t *testing.T) {
	const table = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	tests := []struct{ format, want string }{
		{"", `REPOSITORY            TAG         IMAGE ID      CREATED      SIZE
localhost/app         1.0         0123456789ab  3 hours ago  4.52 MB
reg.example:5000/app  latest      0123456789ab  3 hours ago  4.52 MB
<none>                <none>      fedcba987654  3 hours ago  0 B
`},
		{"{{.Repository}}:{{.Tag}}", "localhost/app:1.0\nreg.example:5000/app:latest\n<none>:<none>\n"},
		{`table {{.ID}}\t{{.Digest}}`, "IMAGE ID      DIGEST\n0123456789ab  sha256:d1\n0123456789ab  sha256:d1\nfedcba987654  sha256:d2\n"},
		{"{{json .Names}} {{upper .Tag}}", `["localhost/app:1.0","reg.example:5000/app:latest"] 1.0
["localhost/app:1.0","reg.example:5000/app:latest"] LATEST
null <NONE>
`},
	}
	for _, test := range tests {
		f, err := parseFormat(test.format, table)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := listImages(testImages(), false).print(&out, f); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("--format %q:\n%swant:\n%s", test.format, out.String(), test.want)
		}
	}
}

func TestListImagesJSON(t *testing.T) {
	f, err := parseFormat("json", "x")
	if err != nil {
		t.Fatal(err)
	}
	image := testImages()[1]
	image.Created = time.Unix(5, 0).UTC()
	for _, test := range []struct {
		images []builder.Image
		want   string
	}{
		{nil, "[]\n"},
		{[]builder.Image{image}, `[
    {
        "Id": "fedcba9876543210",
        "Names": [],
        "Digest": "sha256:d2",
        "Size": 0,
        "Created": 5,
        "CreatedAt": "1970-01-01T00:00:05Z"
    }
]
`},
	} {
		var out strings.Builder
		if err := listImages(test.images, false).print(&out, f); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("got %s, want %s", out.String(), test.want)
		}
	}
}

func TestBadFormat(t *testing.T) {
	if _, err := parseFormat("{{.ID", "x"); exitCode(t.Context(), err) != exitUsage {
		t.Errorf("an unfinished template: %v", err)
	}
	f, err := parseFormat("{{.Nonsense}}", "x")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := listImages(testImages(), false).print(&out, f); exitCode(t.Context(), err) != exitUsage {
		t.Errorf("an unknown field: %v", err)
	}
}

func testDetail() builder.ImageDetail {
	created := time.Now().Add(-time.Minute)
	return builder.ImageDetail{
		Image:        builder.Image{ID: testID, Digest: "sha256:d1", Names: []string{"localhost/app:1.0", "localhost/app:2.0", "localhost/app@sha256:d0"}, Created: created, Size: 7},
		Architecture: "amd64", OS: "linux",
		Config:     builder.Config{Env: []string{"A=<b>"}, Labels: map[string]string{"l": "v"}},
		Layers:     []digest.Digest{"sha256:l1", "sha256:l2"},
		LayerSizes: []int64{5000, 2000},
		History: []imgspec.History{
			{Created: &created, CreatedBy: "COPY a /"},
			{Created: &created, CreatedBy: "ENV A=<b>", EmptyLayer: true},
			{CreatedBy: "RUN a very long command\n  on two lines, and then some more", Comment: "c"},
		},
	}
}

func TestListHistory(t *testing.T) {
	for _, test := range []struct {
		whole bool
		want  string
	}{
		{false, `0123456789ab|N/A|RUN a very long command on two lines, and ...|2 kB|c
<missing>|About a minute ago|ENV A=<b>|0 B|
<missing>|About a minute ago|COPY a /|5 kB|
`},
		{true, `sha256:` + testID + `|N/A|RUN a very long command
  on two lines, and then some more|2 kB|c
<missing>|About a minute ago|ENV A=<b>|0 B|
<missing>|About a minute ago|COPY a /|5 kB|
`},
	} {
		f, err := parseFormat("{{.ID}}|{{.CreatedSince}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}", "x")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := listHistory(testDetail(), test.whole).print(&out, f); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("got:\n%swant:\n%s", out.String(), test.want)
		}
	}
}

func TestInspection(t *testing.T) {
	for format, want := range map[string]string{
		"{{.Id}} {{.ID}}":                     testID + " " + testID,
		"{{json .RepoTags}}":                  `["localhost/app:1.0","localhost/app:2.0"]`,
		"{{json .RepoDigests}}":               `["localhost/app@sha256:d1","localhost/app@sha256:d0"]`,
		"{{json .Config}}":                    `{"Env":["A=<b>"],"Labels":{"l":"v"}}`,
		"{{index .Config.Labels \"l\"}}":      "v",
		"{{join .Config.Env \" \"}}":          "A=<b>",
		"{{.Os}}/{{.Architecture}} {{.Size}}": "linux/amd64 7",
		"{{json .RootFS}}":                    `{"Type":"layers","Layers":["sha256:l1","sha256:l2"]}`,
		"{{len .History}} {{.Digest}}":        "3 sha256:d1",
	} {
		f, err := parseFormat(format, "")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := (list[inspection]{rows: []inspection{newInspection(testDetail())}}).print(&out, f); err != nil {
			t.Fatal(err)
		}
		if out.String() != want+"\n" {
			t.Errorf("--format %s: %q, want %q", format, out.String(), want)
		}
	}
}

func TestSplitName(t *testing.T) {
	for in, want := range map[string][3]string{
		"localhost/a:1":             {"localhost/a", "1", ""},
		"reg:5000/a":                {"reg:5000/a", "", ""},
		"reg:5000/a:1":              {"reg:5000/a", "1", ""},
		"reg:5000/a@sha256:ff":      {"reg:5000/a", "", "sha256:ff"},
		"localhost/a:1@sha256:ffaa": {"localhost/a", "1", "sha256:ffaa"},
		"":                          {"", "", ""},
	} {
		repository, tag, dig := splitName(in)
		if got := [3]string{repository, tag, dig}; got != want {
			t.Errorf("splitName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	words := strings.Repeat("word ", 40)
	for line := range strings.Lines(strings.Repeat(" ", 10) + wrap(words, 10)) {
		line = strings.TrimSuffix(line, "\n")
		if len(line) > helpWidth || !strings.HasPrefix(line, strings.Repeat(" ", 10)+"word") {
			t.Errorf("bad line %q", line)
		}
	}
	if got := strings.Count(wrap(words, 10), "word"); got != 40 {
		t.Errorf("%d words of 40", got)
	}
}
