package dockerfile

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/index"
)

func TestLabels(t *testing.T) {
	const text = "FROM labelled AS first\nLABEL first=1 both=1\nFROM first\nLABEL own=1\n"
	for _, test := range []struct {
		image Image
		want  string
	}{
		{Image{}, "base both first own"},
		{Image{NoBaseLabels: true}, "own"},
		{Image{NoBaseLabels: true, Labels: map[string]string{"base": "given"}}, "base own"},
		{Image{UnsetLabels: []string{"both", "none"}}, "base first own"},
		{Image{UnsetLabels: []string{"own", "given"}, Labels: map[string]string{"given": ""}}, "base both first"},
	} {
		f := mustBuild(t, text, func(f *fake, o *Options) {
			f.images["labelled"] = builder.Config{Labels: map[string]string{"base": "1", "both": "0"}}
			o.Image = test.image
		})
		equal(t, "labels", slices.Sorted(maps.Keys(f.target.config.Labels)), strings.Fields(test.want))
	}
}

func TestAnnotations(t *testing.T) {
	here := formatted("local")
	two := []string{"linux/s390x", "linux/arm/v7"}
	for _, test := range []struct {
		platforms []string
		on        string // of what and for which platform is asked
		given     index.Annotation
		want      bool
	}{
		{nil, "manifest", index.Annotation{}, true},
		{nil, "manifest", index.Annotation{On: "manifest", Platform: here}, true},
		{two, "manifest linux/s390x", index.Annotation{}, true},
		{two, "manifest linux/arm/v7", index.Annotation{Platform: "linux/arm"}, true},
		{two, "manifest linux/s390x", index.Annotation{Platform: "linux/arm"}, false},
		{two, "index", index.Annotation{}, false},
		{two, "index", index.Annotation{On: "index"}, true},
		{two, "manifest linux/s390x", index.Annotation{On: "index"}, false},
		{two, "manifest-descriptor linux/s390x", index.Annotation{On: "manifest-descriptor"}, true},
		{two, "manifest-descriptor linux/s390x", index.Annotation{On: "manifest-descriptor", Platform: "s390x"}, true},
		{two, "manifest-descriptor linux/arm/v7", index.Annotation{On: "manifest-descriptor", Platform: "s390x"}, false},
	} {
		test.given.Name, test.given.Value = "name", "value"
		o := Options{Context: Context{Dir: "."}, Platforms: test.platforms, Image: Image{Annotations: []index.Annotation{test.given}}}
		if err := o.validate(); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		on, platform, _ := strings.Cut(test.on, " ")
		if got := o.annotated(on, platform)["name"] == "value"; got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
	for _, bad := range []struct {
		platforms []string
		format    string
		given     index.Annotation
		want      string
	}{
		{nil, "docker", index.Annotation{Name: "a"}, "images and indexes of the format docker have no annotations"},
		{nil, "", index.Annotation{Value: "x"}, `the annotation "x" has no name`},
		{nil, "", index.Annotation{Name: "a", On: "layer"}, `annotation "a": it can stand on a manifest, an index or a manifest-descriptor, not on "layer"`},
		{nil, "", index.Annotation{Name: "a", On: "index"}, "only a build for several platforms makes an index, which index is about"},
		{two[:1], "", index.Annotation{Name: "a", On: "manifest-descriptor"}, "only a build for several platforms makes an index"},
		{two, "", index.Annotation{Name: "a", On: "index", Platform: "s390x"}, "an index is of no platform, and so not of s390x"},
		{two, "", index.Annotation{Name: "a", Platform: "mips64"}, "nothing is built for mips64, only for linux/s390x, linux/arm/v7"},
		{two, "", index.Annotation{Name: "a", Value: "\xff"}, "is not UTF-8"},
	} {
		o := Options{Context: Context{Dir: "."}, Platforms: bad.platforms, Image: Image{Format: bad.format, Annotations: []index.Annotation{bad.given}}}
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
	several := Options{Context: Context{Dir: "."}, BuildArgs: arguments(map[string]string{"BUILDKIT_MULTI_PLATFORM": "1"}), Image: Image{Annotations: []index.Annotation{{On: "index", Name: "a"}}}}
	if err := several.validate(); err != nil {
		t.Error(err)
	}
}
