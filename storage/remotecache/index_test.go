package remotecache

import (
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/records/recordstest"
)

// A text of the greatest size that tells of more than anything may have takes little memory.
func TestLongListsTakeLittle(t *testing.T) {
	// Not beside others, whose memory would count.
	long := func(before, one, after string) []byte {
		n := (maxIndex - len(before) - len(after)) / (len(one) + 1)
		return []byte(before + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + after)
	}
	decoded := func(raw []byte) error { _, _, err := Decode(raw); return err }
	inlined := func(raw []byte) error { _, _, err := inline(raw); return err }
	added := func(raw []byte) error { _, err := (&Content{}).add(t.Context(), nil, raw); return err }
	own := `{"config":{"mediaType":"` + ConfigType + `"},"layers":[`
	for name, c := range map[string]struct {
		raw  []byte
		read func([]byte) error
		err  string
	}{
		"records":              {long(`{"version":1,"records":[`, `{}`, `]}`), decoded, "10001 records, 0 reads and 0 layers are more than"},
		"records that are no":  {long(`{"version":1,"records":[`, `0`, `]}`), decoded, "cannot unmarshal number"},
		"reads":                {long(`{"version":1,"reads":[`, `{}`, `]}`), decoded, "0 records, 10001 reads and 0 layers are more than"},
		"layers":               {long(`{"version":1,"layers":[`, `""`, `]}`), decoded, "0 records, 0 reads and 10001 layers are more than"},
		"layers of a read":     {long(`{"version":1,"reads":[{"layers":[`, `""`, `]}]}`), decoded, ""}, // which is dropped
		"layers of an image":   {long(`{"oakum.cache":{"version":1},"rootfs":{"diff_ids":[`, `""`, `]}}`), inlined, "an image of 10001 layers"},
		"layers of a manifest": {long(own, `{}`, `]}`), added, "a manifest of 10001 layers"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.read(c.raw)
		runtime.ReadMemStats(&after)
		if c.err == "" && err != nil || c.err != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v", name, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Errorf("%s: took %d bytes", name, took)
		}
	}
}

// Lists that are read to a limit are read as others are.
func TestListsAreReadAsOthers(t *testing.T) {
	t.Parallel()
	type plainRead Read
	type plain struct {
		Version int
		Records []record
		Reads   []plainRead
		Layers  []digest.Digest
	}
	x := example(300)
	x.Layers = []digest.Digest{recordstest.Digest(1), recordstest.Digest(2)}
	key := recordstest.Hex(1)
	for name, text := range map[string]string{
		"whole": string(encoded(t, x)), "nothing in it": `{}`, "empty": `{"records":[],"reads":[],"layers":[]}`, "null": `{"records":null,"reads":null,"layers":null}`,
		"null in it": `{"records":[null],"reads":[null,{"layers":null}],"layers":[null,""]}`, "spaces": " {\n\"records\" : [ {} , {} ] , \"layers\":\t[ \"a\" ] } ",
		"unknown fields":   `{"of":{"later":[1]},"records":[{"key":"` + key + `","more":[{}]}],"reads":[{"more":1,"key":"k","layers":["a"]}]}`,
		"in other letters": `{"Records":[{"KEY":"k"}],"READS":[{"Layers":["a","b"]}]}`, "twice": `{"layers":["a","b"],"layers":["c"],"reads":[{"layers":["a"],"layers":["b"]}]}`,
		"eight layers": `{"reads":[{"layers":["1","2","3","4","5","6","7","8"]}]}`, "a time": `{"records":[{"created":"2026-01-01T00:00:00Z","size":5}]}`,
		"an object": `{"records":{}}`, "a text": `{"reads":"x"}`, "a number": `{"layers":1}`, "a list of numbers": `{"layers":[1]}`, "a list of lists": `{"records":[[]]}`,
		"a read's object": `{"reads":[{"layers":{}}]}`, "a read's number": `{"reads":[{"key":1}]}`, "no time": `{"records":[{"created":"x"}]}`, "cut short": `{"records":[{}`,
		"followed by more": `{"records":[]}]`, "a comma too many": `{"layers":["a",]}`,
	} {
		var want plain
		var got file
		wantErr, err := json.Unmarshal([]byte(text), &want), json.Unmarshal([]byte(text), &got)
		if (wantErr == nil) != (err == nil) {
			t.Errorf("%s: %v, and not %v", name, err, wantErr)
		}
		if err != nil {
			continue
		}
		is := plain{Version: got.Version, Records: got.Records, Layers: got.Layers}
		if got.Reads != nil {
			is.Reads = []plainRead{}
		}
		for _, r := range got.Reads {
			is.Reads = append(is.Reads, plainRead(r))
		}
		if !reflect.DeepEqual(is, want) {
			t.Errorf("%s: %+v, and not %+v", name, is, want)
		}
	}
}
