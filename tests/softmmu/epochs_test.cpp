// Which events end an epoch: those after which a fetch may translate differently (SDM vol. 3, 4.10.4.1).
#include "softmmu/epochs.h"

#include <gtest/gtest.h>

namespace dragoman::softmmu {
namespace {

constexpr u64 kUserCode = 0x400000, kKernelCode = 0xffffffff81000000;

class EpochsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        epochs.fetched(kUserCode, true, false, 12);
        epochs.fetched(kKernelCode, false, true, 21);
    }
    // What of the tags has changed since the last question.
    std::string changed() {
        std::string text;
        if (std::exchange(user, epochs.tag(true)) != epochs.tag(true)) text += "user ";
        if (std::exchange(supervisor, epochs.tag(false)) != epochs.tag(false)) text += "supervisor ";
        return text;
    }
    Epochs epochs;
    u8 user = epochs.tag(true), supervisor = epochs.tag(false);
};

TEST_F(EpochsTest, LoadingCr3EndsTheUsersOnly) {
    epochs.enter(nullptr);
    EXPECT_EQ(changed(), "user ") << "the kernel's code is in global pages, which stay";
    epochs.fetched(0xffffc90000000000, false, false, 12); // a page that is not global
    epochs.enter(nullptr);
    EXPECT_EQ(changed(), "user supervisor ");
    epochs.enter(nullptr);
    EXPECT_EQ(changed(), "user ") << "nothing local was run since";
}

TEST_F(EpochsTest, AFlushOfEverythingEndsBoth) {
    epochs.end_all();
    EXPECT_EQ(changed(), "user supervisor ");
}

TEST_F(EpochsTest, InvlpgEndsWhatHasCodeThere) {
    epochs.drop_page(0x7fff'ffff'0000); // a stack
    EXPECT_EQ(changed(), "");
    epochs.drop_page(kUserCode + 0x5000);
    EXPECT_EQ(changed(), "user ");
    epochs.drop_page(kUserCode);
    EXPECT_EQ(changed(), "") << "nothing was fetched there in this epoch";
    epochs.drop_page(kKernelCode + 0x10'0000);
    EXPECT_EQ(changed(), "supervisor ");
    epochs.fetched(u64{5} << 30, true, false, 30); // a 1 GiB page: any address may belong to it
    epochs.drop_page(0x7fff'ffff'0000);
    EXPECT_EQ(changed(), "user ");
}

TEST_F(EpochsTest, AKeptEpochGoesOn) {
    const Epochs::Kept first = epochs.leave();
    epochs.enter(nullptr);
    EXPECT_EQ(changed(), "user ");
    const Epochs::Kept second = epochs.leave();
    epochs.enter(&first);
    EXPECT_EQ(epochs.tag(true), first.epoch.tag);
    epochs.drop_page(kUserCode);
    EXPECT_NE(epochs.tag(true), first.epoch.tag) << "it remembers where it had code";
    epochs.enter(&second);
    EXPECT_EQ(epochs.tag(true), second.epoch.tag);
    epochs.end_all();
    epochs.enter(&second);
    EXPECT_NE(epochs.tag(true), second.epoch.tag) << "a flush of everything ends the kept ones, too";
}

TEST_F(EpochsTest, GlobalUserCodeMayBeDroppedFromAKeptEpoch) {
    epochs.fetched(kUserCode, true, true, 12);
    const Epochs::Kept kept = epochs.leave();
    epochs.enter(nullptr);
    epochs.drop_page(kUserCode); // INVLPG drops global pages of every PCID
    epochs.enter(&kept);
    EXPECT_NE(epochs.tag(true), kept.epoch.tag);
}

TEST_F(EpochsTest, TagsThatBeginAgainAreOfANewGeneration) {
    const Epochs::Kept kept = epochs.leave();
    for (unsigned i = 0; i < 1000; ++i) {
        const u64 generation = epochs.generation(), changes = epochs.changes();
        const u8 old = epochs.tag(true);
        epochs.enter(nullptr);
        EXPECT_GT(epochs.changes(), changes);
        EXPECT_NE(epochs.tag(true), 0);
        EXPECT_NE(epochs.tag(true), epochs.tag(false));
        if (epochs.generation() == generation) {
            EXPECT_GT(epochs.tag(true), old) << "no tag is given twice in a generation";
        }
    }
    EXPECT_GE(epochs.generation(), 3u);
    epochs.enter(&kept);
    EXPECT_NE(epochs.tag(true), kept.epoch.tag);
}

} // namespace
} // namespace dragoman::softmmu
