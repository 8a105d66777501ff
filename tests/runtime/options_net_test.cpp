// -netdev, -nic, -net, network cards of -device and captures.
#include "runtime/options.h"

#include <gtest/gtest.h>

namespace dragoman::runtime {
namespace {

using Model = NicOption::Model;

Result<Options> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "dragoman");
    return parse_options(int(words.size()), words.data());
}

Options good(const std::vector<const char*>& words) {
    auto options = parse(words);
    EXPECT_TRUE(options) << words[0] << " " << words[1] << ": " << (options ? "" : options.error().message);
    return options ? *options : Options{};
}

TEST(NetOptions, UserNetworkAndCard) {
    const Options o = good(
        {"-netdev", "user,id=n0,hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-10.0.2.20:5353,restrict=on",
         "-device", "e1000,netdev=n0,mac=52:54:00:ab:cd:ef,addr=0x7"});
    ASSERT_EQ(o.networks.size(), 1u);
    const auto& user = std::get<UserNetwork>(o.networks[0].what);
    EXPECT_TRUE(user.restricted);
    ASSERT_EQ(user.forwards.size(), 2u);
    EXPECT_EQ(text_of(user.forwards[0]), "tcp::2222-:22");
    EXPECT_EQ(text_of(user.forwards[1]), "udp:127.0.0.1:53-10.0.2.20:5353");
    ASSERT_EQ(o.nics.size(), 1u);
    EXPECT_EQ(o.nics[0].network, 0u);
    EXPECT_EQ(o.nics[0].slot, 7u);
    EXPECT_EQ(o.nics[0].mac, (hw::MacAddress{0x52, 0x54, 0, 0xab, 0xcd, 0xef}));
    EXPECT_TRUE(o.warnings.empty());
}

TEST(NetOptions, Nic) {
    Options o = good(
        {"-nic", "user,model=virtio-net-pci,hostfwd=tcp::2222-:22", "-nic", "user,mac=02:00:00:00:00:09"});
    ASSERT_EQ(o.nics.size(), 2u);
    EXPECT_EQ(o.nics[0].model, Model::VirtioNet);
    EXPECT_EQ(o.nics[1].model, Model::E1000);
    EXPECT_EQ(o.nics[0].mac, (hw::MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0x56}));
    EXPECT_EQ(o.nics[1].mac, (hw::MacAddress{2, 0, 0, 0, 0, 9}));
    EXPECT_NE(o.nics[0].network, o.nics[1].network);
    EXPECT_TRUE(good({"-nic", "none"}).nics.empty());
    EXPECT_TRUE(good({"-net", "none"}).nics.empty());
    o = good({"-net", "nic,model=virtio", "-net", "user,hostfwd=::1-:2"});
    EXPECT_EQ(o.nics.at(0).network, 0u);
    EXPECT_EQ(o.nics.at(0).model, Model::VirtioNet);
    o = good({"-nic", "user,id=lan", "-object", "filter-dump,id=f0,netdev=lan,file=a.pcap,maxlen=128"});
    EXPECT_EQ(o.captures.at(0).snap_bytes, 128u);
    EXPECT_EQ(o.captures.at(0).file, "a.pcap");
    const Options old =
        good({"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,disable-modern=on,romfile="});
    EXPECT_TRUE(old.nics[0].legacy && !old.nics[0].modern);
    EXPECT_EQ(old.nics[0].romfile, "");
    EXPECT_FALSE(
        good({"-netdev", "user,id=n", "-device", "virtio-net-pci-non-transitional,netdev=n"}).nics[0].legacy);
}

TEST(NetOptions, Networks) {
    const auto user = [](const char* text) {
        const Options o = good({"-nic", text});
        return std::get<UserNetwork>(o.networks.at(0).what);
    };
    EXPECT_EQ(user("user,net=192.168.5.77/24").network, 0xc0a80500u);
    EXPECT_EQ(user("user,net=192.168.5.0/255.255.0.0").mask, 0xffff0000u);
    EXPECT_EQ(user("user,net=10.1.2.3").mask, 0xff000000u);
    EXPECT_EQ(user("user,dns=10.0.2.9").name_server, 0x0a000209u);
    EXPECT_EQ(user("user,dnssearch=a.b,dnssearch=c").dns_search.size(), 2u);
    EXPECT_EQ(user("user,tftp=/srv,bootfile=pxe.0").boot_file, "pxe.0");

    const auto stream = [](const char* text) {
        const Options o = good({"-netdev", text});
        return std::get<StreamNetwork>(o.networks.at(0).what);
    };
    EXPECT_TRUE(stream("socket,id=n,listen=:1234").server);
    EXPECT_EQ(stream("socket,id=n,connect=127.0.0.1:1234").tcp->port, "1234");
    EXPECT_EQ(stream("stream,id=n,server=on,addr.type=unix,addr.path=/tmp/x").path, "/tmp/x");
    EXPECT_EQ(stream("stream,id=n,addr.type=inet,addr.host=::1,addr.port=9").tcp->host, "::1");
    EXPECT_EQ(stream(R"({"type":"stream","id":"n","server":true,"addr":{"type":"unix","path":"/x"}})").path,
              "/x");
    const Options tap = good({"-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no"});
    EXPECT_EQ(std::get<TapNetwork>(tap.networks[0].what).interface, "tap0");
    EXPECT_EQ(tap.warnings.size(), 1u) << "no card is connected to it";
}

TEST(NetOptions, Queues) {
    const auto card = [](const char* network, const char* device) {
        return good({"-netdev", network, "-device", device}).nics.at(0);
    };
    EXPECT_EQ(card("user,id=n,queues=4", "virtio-net-pci,netdev=n,mq=on,vectors=10").pairs, 4u);
    EXPECT_EQ(card("user,id=n,queues=4", "virtio-net-pci,netdev=n,mq=on,vectors=10").vectors, 10u);
    EXPECT_EQ(card("user,id=n,queues=4", "virtio-net-pci,netdev=n").pairs, 1u)
        << "mq is off unless asked for";
    EXPECT_EQ(card("user,id=n", "virtio-net-pci,netdev=n,mq=on").pairs, 1u);
    EXPECT_EQ(good({"-nic", "user,queues=2,model=virtio-net-pci,mq=on"}).nics.at(0).pairs, 2u);
    const auto tap = [](const char* network) {
        return std::get<TapNetwork>(good({"-netdev", network}).networks.at(0).what);
    };
    EXPECT_TRUE(tap("tap,id=n,ifname=tap0,queues=2").shared);
    EXPECT_FALSE(tap("tap,id=n,ifname=tap0,queues=1").shared);
}

TEST(NetOptions, BadValues) {
    struct Row {
        std::vector<const char*> words;
        const char* says;
    };
    const Row rows[] = {
        {{"-netdev", "user"}, "id=ID"},
        {{"-netdev", "vde,id=n"}, "user, socket, stream or tap"},
        {{"-netdev", "user,id=n", "-netdev", "user,id=n"}, "an id of its own"},
        {{"-netdev", "user,id=n,nosuch=1"}, "'nosuch' is none of them"},
        {{"-netdev", "user,id=n,net=10.0.2.0/31"}, "net=NETWORK/BITS"},
        {{"-netdev", "user,id=n,net=10.0.2.0/255.0.255.0"}, "net="},
        {{"-netdev", "user,id=n,net=x"}, "net="},
        {{"-netdev", "user,id=n,dns=1.2.3"}, "dns=ADDRESS"},
        {{"-netdev", "user,id=n,restrict=maybe"}, "restrict=on or off"},
        {{"-netdev", "user,id=n,hostfwd=tcp::2222"}, "hostfwd=[tcp|udp]:"},
        {{"-netdev", "user,id=n,hostfwd=sctp::1-:2"}, "hostfwd="},
        {{"-netdev", "user,id=n,hostfwd=tcp::99999-:22"}, "hostfwd="},
        {{"-netdev", "user,id=n,hostfwd=tcp:nowhere:1-:22"}, "hostfwd="},
        {{"-netdev", "user,id=n,hostfwd=tcp::1-:0"}, "hostfwd="},
        {{"-netdev", "socket,id=n"}, "listen="},
        {{"-netdev", "socket,id=n,listen=1234"}, "listen="},
        {{"-netdev", "stream,id=n,addr.type=unix"}, "addr.path"},
        {{"-netdev", "stream,id=n,addr.type=inet,addr.host=x"}, "addr.port"},
        {{"-netdev", "tap,id=n,ifname=averyveryverylongname"}, "ifname="},
        {{"-netdev", "tap,id=n,ifname=a,fd=3"}, "not both"},
        {{"-netdev", "{bad"}, "JSON"},
        {{"-netdev", "user,id=n,queues=17"}, "queues=1 to 16"},
        {{"-netdev", "user,id=n,queues=0"}, "queues=1 to 16"},
        {{"-nic", "user,model=virtio,mq=maybe"}, "mq=on or off"},
        {{"-nic", "user,model=virtio,vectors=129"}, "vectors=0 to 128"},
        {{"-nic", "user,model=e1000,mq=on"}, "'mq' is none of them"},
        {{"-device", "e1000,netdev=nosuch"}, "'nosuch' is none"},
        {{"-device", "e1000,netdev=n,mac=1:2:3"}, "mac="},
        {{"-device", "e1000,mac=01:00:00:00:00:01"}, "first byte is even"},
        {{"-device", "e1000,nosuch=1"}, "'nosuch' is none of them"},
        {{"-device", "e1000,addr=40"}, "addr=SLOT"},
        {{"-device", "e1000,addr=2"}, "taken by the display"},
        {{"-nic", "user,addr=5", "-nic", "user,addr=5"}, "taken by '-nic user,addr=5'"},
        {{"-netdev", "user,id=n", "-device", "e1000,netdev=n", "-device", "e1000,netdev=n"},
         "in use by another card"},
        {{"-device", "virtio-net-pci,disable-legacy=on,disable-modern=on"}, "not both"},
        {{"-nic", "user,model=ne2k_pci"}, "the nearest is pcnet"},
        {{"-nic", ""}, "user, socket"},
        {{"-net", "nic,nosuch=1"}, "'nosuch'"},
        {{"-object", "filter-dump,id=f,netdev=n"}, "file=FILE"},
        {{"-object", "filter-dump,id=f,netdev=n,file=x"}, "'n' is none"},
        {{"-object", "filter-dump,id=f,netdev=n,file=x,maxlen=1"}, "maxlen"},
    };
    for (const Row& row : rows) {
        const auto options = parse(row.words);
        ASSERT_FALSE(options) << row.words[1];
        const std::string& message = options.error().message;
        EXPECT_NE(message.find(row.says), std::string::npos) << row.words[1] << ": " << message;
        EXPECT_NE(message.find("expected"), std::string::npos) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
}

} // namespace
} // namespace dragoman::runtime
