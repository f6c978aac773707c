package engine

import (
	"fmt"
	"testing"
)

func TestFileIDsAreRead(t *testing.T) {
	for id, want := range map[string]Request{
		"3,01637037d6":                          {Volume: 3, Needle: 1, Cookie: 0x637037d6},
		"3,1637037d6":                           {Volume: 3, Needle: 1, Cookie: 0x637037d6},
		"3,01637037D6":                          {Volume: 3, Needle: 1, Cookie: 0x637037d6},
		"3,01637037d6_2":                        {Volume: 3, Needle: 3, Cookie: 0x637037d6},
		"4294967295,ffffffffffffffffffffffff":   {Volume: 1<<32 - 1, Needle: 1<<64 - 1, Cookie: 1<<32 - 1},
		"0,000000000":                           {},
		"4294967295,ffffffffffffffffffffffff_0": {Volume: 1<<32 - 1, Needle: 1<<64 - 1, Cookie: 1<<32 - 1},
	} {
		if got, err := ParseFileID(id); err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", id, got, err, want)
		}
	}
}

func TestWhatIsNoFileIDIsRefused(t *testing.T) {
	for _, id := range []string{
		"", ",", "3", "3,", "3,637037d6", ",01637037d6", "x,01637037d6", "-1,01637037d6", "+1,01637037d6",
		"4294967296,01637037d6", "3,0g637037d6", "3,0163703_d6", "3,01637037dg", "3,01637037d6_", "3,01637037d6_x",
		"3,01637037d6_-1", "3,1ffffffffffffffffffffffff", "3,ffffffffffffffff00000000_1", " 3,01637037d6", "3,01637037d6\n",
		"3,+1637037d6", "3,0x1637037d6",
	} {
		if got, err := ParseFileID(id); err == nil {
			t.Errorf("%q was read as %+v", id, got)
		}
	}
}

func ExampleParseFileID() {
	request, err := ParseFileID("3,01637037d6")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("volume %d, needle %d, cookie %x\n", request.Volume, request.Needle, request.Cookie)
	// Output: volume 3, needle 1, cookie 637037d6
}
