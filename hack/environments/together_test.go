//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestTogether builds the same at the same time, several times, in one container: each gets the image that one gets
// who builds alone, and from then on all of it is in the cache that they share.
func TestTogether(t *testing.T) {
	for name, context := range map[string]string{"docker": "commands", "restricted": "files", "no-subids": "commands"} {
		t.Run(name, func(t *testing.T) {
			v := enter(t, name)
			before := v.look()
			const many = 5
			dir := v.temp("together")
			v.run("mkdir", dir)
			out := v.run("sh", "-c", fmt.Sprintf(`cd %s || exit
				for i in $(seq %d); do
					oakum build --source-date-epoch 1700000000 --rewrite-timestamp --metadata-file $i.json --tag localhost/together-$i %s/%s >$i.out 2>&1 || echo $i: $? >>failed &
				done
				wait
				test ! -e failed || { cat failed *.out; exit 1; }
				grep -ho '"containerimage.digest": *"[^"]*"' *.json`, dir, many, v.contexts, context))
			v.run("rm", "-r", dir)
			alone, said := v.build(context)
			if got := strings.Count(out, `"`+alone+`"`); got != many {
				t.Errorf("%s: want %d times %s, got\n%s", name, many, alone, out)
			}
			if first, ok := digests[context]; ok && alone != first {
				t.Errorf("%s: %s is %s, and elsewhere %s", name, context, alone, first)
			}
			v.checkCached(said)
			for i := range many {
				if got := v.run("oakum", "inspect", "--format", "{{.Digest}}", fmt.Sprintf("localhost/together-%d", i+1)); got != alone {
					t.Errorf("%s: image %d is %s", name, i+1, got)
				}
			}
			v.checkRemains(before)
		})
	}
}
