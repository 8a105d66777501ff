#!/bin/sh
# work.sh PERCENT [NAME...]: Debian's own programs at work (all but those that only a name asks for), in the tree of
# scripts/make-userland: by chroot, in the guest as on the host. /tmp is in memory. Prints "kernel NAME SECONDS CHECKSUM" for
# each work, as the programs beside this file do; what is prepared for a work is not timed.
set -eu
percent=$1
shift
export PATH=/usr/bin:/usr/lib/p7zip:/usr/lib/gcc/x86_64-linux-gnu/12 LC_ALL=C OPENSSL_CONF=/dev/null PYTHONHASHSEED=0
export PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
tmp=$(mktemp -d /tmp/work.XXXXXX)
trap 'rm -rf "$tmp"' EXIT

sum() { printf '%08x' "$(cksum | cut -d' ' -f1)"; }
# scaled N: N at this percentage, at least one; rounds N: the numbers of so many rounds. Each work but "start" and "files" is
# one process, or few, that run for long: what it takes to start one is seen in "start".
scaled() { echo $((($1 * percent + 99) / 100)); }
rounds() { seq "$(scaled "$1")"; }

text=$tmp/text data=$tmp/data
cat /usr/lib/python3.11/[a-m]*.py | head -c 1000000 >"$text"
prepare() {
    case $1 in
        gunzip) gzip -9nc "$text" >"$tmp/member"; for i in $(rounds 80); do cat "$tmp/member"; done >"$tmp/text.gz" ;;
        unxz) xz -6c "$text" >"$tmp/member"; for i in $(rounds 20); do cat "$tmp/member"; done >"$tmp/text.xz" ;;
        sha256 | aes) for i in $(seq 48); do cat "$text"; done >"$data" ;;
        cc) cp /usr/share/dragoman/integer.i "$tmp/" ;;
        files) mkdir -p "$tmp/from"; cp -r /usr/lib/python3.11/test "$tmp/from/" ;;
    esac
}

gzip_work() { for i in $(rounds 3); do gzip -9nc "$text"; done | sum; }
gunzip_work() { gzip -dc "$tmp/text.gz" | tail -c 4096 | sum; }
xz_work() { for i in $(rounds 1); do xz -6c -T1 "$text"; done | sum; }
unxz_work() { xz -dc "$tmp/text.xz" | tail -c 4096 | sum; }
sevenzip_work() {
    for i in $(rounds 1); do
        rm -f "$tmp/x.7z"
        7za a -mx5 -mmt1 -bd -bso0 "$tmp/x.7z" "$text" >/dev/null
    done
    7za e -so "$tmp/x.7z" | sum
}
python_work() {
    python3.11 -S -c '
import json, re
words = {}
text = open("'"$text"'").read()[:'"$(scaled 1000000)"']
for word in re.findall(r"\w+", text):
    words[word] = words.get(word, 0) + 1
best = sorted(words.items(), key=lambda w: (-w[1], w[0]))[:500]
class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    def add(self, other): return Point(self.x + other.x, self.y ^ other.y)
p = Point(0, 0)
for i in range('"$(scaled 500000)"'):
    p = p.add(Point(i, i * 7 & 255))
print(json.dumps(json.loads(json.dumps(best))), p.x, p.y)' | sum
}
# What of Python is one small loop, and what goes through much code: by name only.
python_part() {
    python3.11 -S -c '
def loop(n):
    x = 0
    for i in range(6 * n): x += i & 7
    return x
class Point:
    def __init__(self, x): self.x = x
    def add(self, other): return Point(self.x + other.x)
def objects(n):
    p = Point(0)
    for i in range(n): p = p.add(Point(i))
    return p.x
def strings(n):
    x = 0
    for i in range(n): x += len(("%d" % i).upper() + "x")
    return x
print(globals()["'"$1"'"]('"$(scaled 500000)"'))' | sum
}
python_loop_work() { python_part loop; }
python_objects_work() { python_part objects; }
python_strings_work() { python_part strings; }
perl_work() {
    perl -e '
my (%h, $x); $x = 12345;
for (1 .. '"$(scaled 800000)"') { $x = ($x * 1103515245 + 12345) % 2147483648; $h{$x % 5000} .= chr(65 + $x % 26) }
my $n = 0; for (sort keys %h) { $n += () = $h{$_} =~ /[AEIOU]+[^AEIOU]/g }
print join(",", map { length $h{$_} } sort keys %h), " $n\n"' | sum
}
sqlite_work() {
    sqlite3 "$tmp/db" "create table t(id integer primary key, k int, v text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < $(scaled 120000))
insert into t select i, i * 7919 % 10007, hex(i * 31) from n;
create index tk on t(k);
update t set v = v || k where k % 3 = 0;
select count(*), sum(length(v)), max(v) from t where k between 100 and 9000;
select a.k, count(*) from t a join t b on a.k = b.id group by a.k % 17 order by 2, 1;" | sum
}
node_work() {
    node -e '
class Shape { constructor(n) { this.n = n } area() { return this.n * 3 } }
class Square extends Shape { area() { return this.n * this.n } }
let total = 0, map = new Map();
for (let i = 0; i < '"$(scaled 6000000)"'; i++) { total = (total + (i & 1 ? new Shape(i) : new Square(i & 255)).area()) % 1000003 }
for (let i = 0; i < '"$(scaled 600000)"'; i++) { const k = "k" + (i * 7919 % 20011); map.set(k, (map.get(k) || 0) + i) }
const a = Float64Array.from({length: '"$(scaled 400000)"'}, (_, i) => Math.sin(i)); a.sort();
const s = JSON.stringify([...map].slice(0, 5000));
console.log(total, map.size, a[1000].toFixed(9), JSON.parse(s).length, s.replace(/[0-7]+/g, "x").length)' | sum
}
sha256_work() { openssl dgst -sha256 $(for i in $(rounds 6); do echo "$data"; done) | cut -d' ' -f2 | sum; }
aes_work() {
    for i in $(rounds 5); do cat "$data"; done |
        openssl enc -aes-128-ctr -K 000102030405060708090a0b0c0d0e0f -iv 0f0e0d0c0b0a09080706050403020100 -bufsize 65536 |
        tail -c 4096 | sum
}
# The prime of RFC 3526's group 14 (2048 bits): modular exponentiation, as RSA does it.
prime=FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E08\
8A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B\
0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23\
DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28F\
B5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF
rsa_work() {
    openssl prime -hex $(for i in $(rounds 4); do echo $prime; done) | sed 's/.* is/is/' | sum
}
cc_work() { for i in $(rounds 1); do cc1 -quiet -fpreprocessed -O2 "$tmp/integer.i" -o -; done | sum; }
files_work() {
    for i in $(rounds 2); do
        cp -r "$tmp/from" "$tmp/to"
        find "$tmp/to" -name '*.py' -size +4k | wc -l
        rm -rf "$tmp/to"
    done | sum
}
start_work() { for i in $(rounds 20); do python3.11 -S -c 'print(1)'; done | sum; }

works="gzip gunzip xz unxz sevenzip python perl sqlite node sha256 aes rsa cc files start"
named="python_loop python_objects python_strings"
for work in $works $named; do
    case " ${*:-$works} " in *" $work "*) ;; *) continue ;; esac
    prepare "$work"
    from=$(date +%s%N)
    check=$("${work}_work")
    took=$((($(date +%s%N) - from) / 10000))
    printf 'kernel %s %d.%05d %s\n' "$work" $((took / 100000)) $((took % 100000)) "$check"
done
